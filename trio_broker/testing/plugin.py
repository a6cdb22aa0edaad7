"""The pytest plugin: fixtures for tests of agents, of clients, and of brokers. Installed with trio-broker, it is there.

| fixture | gives |
|---|---|
| `broker` | a broker in this process, with agents in memory, in virtual time: a `Rig` |
| `daemon` | a broker as a process of its own: a `Home` |
| `acp_client` | a client of whichever of the two the test uses: a `User` |
| `ws_client` | the same over a WebSocket, with a token that allows everything |
| `fake_agent` | `fake_agent("--load", …)`: the command of the scripted agent |
| `play` | `play()`: a written exchange, a `Play`; one that is left unfinished fails the test |
| `sweep` | runs a scenario again and again, cancelled at each of its steps |

`agent_habits` and `broker_config` are there to be overridden: what the agents in memory do, how the broker is set up.
Async tests want pytest-trio. Until a fixture is used, nothing but pytest is imported here: other people's runs pay a
few microseconds.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from trio_broker.config.config import Config
    from trio_broker.testing.clients.play import Play
    from trio_broker.testing.clients.user import User
    from trio_broker.testing.in_process.memory_agent import Habits
    from trio_broker.testing.in_process.rig import Rig
    from trio_broker.testing.processes.home import Home


def _check_trio(request: pytest.FixtureRequest) -> None:
    """Fails the test, with what to do, where an async fixture can't work."""
    name = next(name for name in request.fixturenames if name in ("broker", "acp_client", "ws_client"))
    if not request.config.pluginmanager.hasplugin("trio"):
        pytest.fail(f"the fixture `{name}` needs pytest-trio: pip install pytest-trio", pytrace=False)
    if request.node.get_closest_marker("trio") is None:
        pytest.fail(
            f"the fixture `{name}` is for async tests that Trio runs: mark this one `@pytest.mark.trio`, "
            "or set `trio_mode = true` in the section of pytest in your configuration",
            pytrace=False,
        )


def _in_virtual_time(main: Callable[[], Any], *, clock: Any = None, instruments: Any = ()) -> Any:
    """trio.run, in which hours pass at once when nobody has anything to do."""
    import trio
    from trio.testing import MockClock

    return trio.run(main, clock=clock or MockClock(autojump_threshold=0), instruments=instruments)


@pytest.fixture
def broker_config() -> Config | None:
    """The configuration of `broker`. Override it; the default is that of an empty file."""
    return None


@pytest.fixture
def agent_habits() -> Habits | None:
    """What the agents of `broker` do. Override it; by default they start at once and can do nothing special."""
    return None


@pytest.fixture
def _virtual_time(request: pytest.FixtureRequest) -> None:
    _check_trio(request)
    if "daemon" in request.fixturenames:
        pytest.fail(
            "`broker` lives in virtual time and `daemon` in the real one: a test uses one of them",
            pytrace=False,
        )
    request.node.add_marker(pytest.mark.trio(run=_in_virtual_time), append=False)


@pytest.fixture
async def broker(
    _virtual_time: None, broker_config: Config | None, agent_habits: Habits | None
) -> AsyncGenerator[Rig, None]:
    """A broker in this process whose agents live in memory; `broker.connect()` gives as many clients as are wanted.

    The test runs in virtual time, and fails when it has not ended within a week of that. At its end the broker is
    cancelled, whatever it is at.
    """
    from trio_broker.testing.in_process.rig import open_rig

    async with open_rig(broker_config, agent_habits) as rig:
        rig.nursery.start_soon(rig.fail_when_stuck)
        yield rig


@pytest.fixture
def daemon() -> Iterator[Home]:
    """A broker that runs as a daemon of its own, in a directory of its own, with the scripted agent as its default.

    `daemon.run("status")` runs a command as a person does. It listens at its socket, and for WebSockets at a free port
    of 127.0.0.1: `daemon.status()` has both, as `socket` and `websocket`. The end of the test ends it, and finds fault
    if that leaves a process behind.
    """
    from trio_broker.testing.processes.home import CONFIG, Home

    with Home(f'{CONFIG}\n[listen]\nwebsocket = "127.0.0.1:0"\n') as home:
        done = home.run("up")
        if done.returncode:
            pytest.fail(f"the daemon did not start: {done.stderr}{home.log}", pytrace=False)
        yield home


@pytest.fixture
def _client_broker(request: pytest.FixtureRequest) -> Any:
    """The broker that the test's clients are clients of."""
    _check_trio(request)
    return request.getfixturevalue("daemon" if "daemon" in request.fixturenames else "broker")


@pytest.fixture
async def acp_client(_client_broker: Rig | Home) -> AsyncGenerator[User, None]:
    """A client that is connected: to the `daemon` if the test has one, else to a `broker`.

    `acp_client.on_request = allow` answers what agents ask; without it the client abstains.
    """
    from trio_broker.testing.in_process.rig import Rig

    if isinstance(_client_broker, Rig):
        async with _client_broker.connect() as user:
            yield user
    else:
        from trio_broker.testing.processes.daemon import visit

        async with visit(_client_broker) as user:
            yield user


@pytest.fixture
async def ws_client(_client_broker: Rig | Home) -> AsyncGenerator[User, None]:
    """The same over a WebSocket, with a token that allows everything: in virtual time, or to the real `daemon`."""
    from trio_broker.testing.in_process.rig import Rig

    if isinstance(_client_broker, Rig):
        from trio_broker.testing.in_process.websocket import open_web

        async with open_web(_client_broker) as web, web.connect() as user:
            yield user
    else:
        from trio_broker.testing.processes.daemon import visit_web

        async with visit_web(_client_broker) as user:
            yield user


@pytest.fixture
def fake_agent() -> Callable[..., list[str]]:
    """The command of the scripted agent, as a function of its flags; a prompt's text is what it does.

    `python -m trio_broker.testing.agent --help` lists the flags, and the words of prompts.
    """
    from trio_broker.testing.processes.agents import fake

    return fake


@pytest.fixture
def play(request: pytest.FixtureRequest) -> Iterator[Callable[..., Play]]:
    """Begins a play: `play(patience=10.0)`. The test fails if it ends before every play of it has."""
    from trio_broker.testing.clients.play import Play

    plays: list[Play] = []

    def begin(**options: Any) -> Play:
        plays.append(Play(title=f"play {len(plays) + 1} of {request.node.name}", **options))
        return plays[-1]

    failed = request.session.testsfailed
    yield begin
    already_failed = request.session.testsfailed > failed  # the test has said already what went wrong
    for one in plays:
        if not one.failed and not already_failed:
            one.check_finished()


@pytest.fixture
def sweep() -> Callable[..., int]:
    """`sweep(scenario)`: see trio_broker.testing.in_process.sweep. For tests that are plain functions."""
    from trio_broker.testing.in_process.sweep import sweep

    return sweep
