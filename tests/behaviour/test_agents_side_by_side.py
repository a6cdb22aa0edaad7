"""Real agents side by side: what one of them does, or does not, is no matter of the others."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio

from trio_broker.errors import BrokerError, SpawnFailed
from trio_broker.protocol.jsonrpc import Message
from trio_broker.testing.clients.user import User, allow
from trio_broker.testing.in_process.rig import Rig, open_real
from trio_broker.testing.processes.agents import agent_pid, fake
from trio_broker.testing.processes.daemon import home_with, serving, visit, wait_queue_length, wait_until

pytestmark = pytest.mark.process

STUBBORN = ("--ignore-term", "--ignore-eof")
PROMPTLY = (
    20.0  # seconds for what takes milliseconds, and would take minutes if it waited for another session
)
MINUTES = 600


async def test_main_job_with_real_processes_a_build_holds_up_nothing() -> None:
    with trio.fail_after(60), home_with() as home, serving(home):
        async with visit(home) as user, visit(home) as other:
            a, b = await user.open("a"), await other.open("b")
            build = user.later(user.prompt, a, f"tool Build {MINUTES}")
            await wait_until(lambda: len(user.updates(a)) == 2)
            with trio.fail_after(PROMPTLY):
                assert await other.prompt(b, "say hello") == "end_turn"
                c = await other.open("c")
                assert await other.prompt(c, "say new") == "end_turn"
                phases = {view["key"]: view["phase"] for view in (await other.status())["sessions"]}
                assert phases == {"a": "working", "b": "idle", "c": "idle"}
                assert (await other.submit(a, "say follow-up"))["position"] == 1
                assert await other.cancel(a) == "turn"
                assert await build.wait() == "cancelled"
                await wait_until(lambda: user.said(a) == "follow-up")
            assert user.updates(a)[2]["status"] == "failed"


@attrs.define
class Neighbour:
    """A session that answers throughout, in the process it began with."""

    user: User
    session: str
    pid: int

    async def answers(self, times: int = 5) -> None:
        with trio.fail_after(PROMPTLY):
            for number in range(times):
                assert await self.user.prompt(self.session, f"say {number}.") == "end_turn"
            assert self.user.said(self.session).endswith("".join(f"{number}." for number in range(times)))
            assert await agent_pid(self.user, "neighbour") == self.pid


@asynccontextmanager
async def neighbour_of(rig: Rig) -> AsyncGenerator[Neighbour, None]:
    """A session of another client; it answers before and after the block."""
    async with rig.connect() as user:
        neighbour = Neighbour(user, await user.open("neighbour"), await agent_pid(user, "neighbour"))
        await neighbour.answers()
        yield neighbour
        await neighbour.answers()


BAD: dict[str, tuple[tuple[str, ...], str]] = {
    "prints garbage": ((), "; ".join(["garbage", "bad-utf8", "wrong-id"] * 300) + "; hang"),
    "floods stderr": ((), "stderr 10000000; hang"),
    "is silent": ((), "hang-hard"),
    "reads nothing": (("--deaf",), "x" * 1_000_000),
    "closed its stdout": (STUBBORN, "close-stdout; hang-hard"),
    "dies": ((), "say last words; kill KILL"),
    "crashes": ((), "die 9"),
    "says too much at once": ((), "big 3000000; hang"),
    "asks and waits": ((), "ask anybody; hang"),
}


@pytest.mark.parametrize("what", BAD)
async def test_an_agent_that_misbehaves_harms_no_other_session(what: str) -> None:
    flags, text = BAD[what]
    with trio.fail_after(60):
        async with (
            open_real(max_line=2_000_000, close_grace=0.2, term_grace=MINUTES) as rig,
            neighbour_of(rig) as neighbour,
            rig.connect() as user,
        ):
            session = await user.open("bad", command=fake(*flags))
            turn = user.later(user.prompt, session, text)
            await user.wait_phase("bad", "working", "waiting", "dead", "suspended")
            await neighbour.answers()
            await user.call("_trio_broker/kill", sessionId=session)
            assert isinstance(await turn.fails(), BrokerError)


async def test_an_agent_that_heeds_no_end_harms_no_other_session() -> None:
    with trio.fail_after(60):
        async with (
            open_real(close_grace=0.1, term_grace=MINUTES) as rig,
            neighbour_of(rig) as neighbour,
            rig.connect() as user,
        ):
            session = await user.open("bad", command=fake(*STUBBORN))
            closing = user.later(user.call, "_trio_broker/close", sessionId=session)
            await neighbour.answers()
            assert not closing.done
            await user.call("_trio_broker/kill", key="bad")
            assert (await closing.wait())["exit"]["signal"] == "SIGKILL"


async def test_an_agent_that_never_starts_harms_no_other_session() -> None:
    with trio.fail_after(60):
        async with (
            open_real(start_timeout=MINUTES) as rig,
            neighbour_of(rig) as neighbour,
            rig.connect() as user,
        ):
            start = user.later(user.open, "bad", command=fake("--no-start"))
            await user.wait_phase("bad", "starting")
            await neighbour.answers()
            error = await user.later(user.open, "worse", command=fake("--exit-at-start", "1")).fails()
            assert isinstance(error, SpawnFailed)
            await neighbour.answers()
            assert not start.done


@pytest.mark.slow
async def test_c19_a_flood_of_two_hundred_thousand_updates_harms_no_other_session() -> None:
    count = 200_000
    with trio.fail_after(120):
        async with open_real() as rig, neighbour_of(rig) as neighbour, rig.connect() as user:
            session = await user.open("flood")
            turn = user.later(user.prompt, session, f"flood {count}; hang")
            while len(user.messages) < count // 2:
                await neighbour.answers(1)
            await wait_until(lambda: len(user.messages) >= count)
            assert await user.cancel(session) == "turn"
            assert await turn.wait() == "cancelled"
            numbers = [int(update["content"]["text"].split()[0]) for update in user.updates(session)]
            assert numbers == list(range(count))


@pytest.mark.slow
async def test_two_hundred_sessions_at_once_are_all_answered() -> None:
    """Each asks a permission, and none is given before all have asked: so all two hundred turns run at one time."""
    count = 200
    asked: list[str] = []
    all_asked = trio.Event()

    async def on_request(message: Message) -> object:
        asked.append(message.session_id or "")
        if len(asked) == count:
            all_asked.set()
        await all_asked.wait()
        return await allow(message)

    with trio.fail_after(120):
        async with open_real() as rig, rig.connect(on_request) as user:
            opened = [user.later(user.open, f"s{number}") for number in range(count)]
            sessions = [await later.wait() for later in opened]
            turns = [user.later(user.prompt, session, f"ask {session}") for session in sessions]
            assert [await turn.wait() for turn in turns] == ["end_turn"] * count
            assert sorted(asked) == sorted(sessions) and len(set(sessions)) == count
            assert {user.said(session) for session in sessions} == {"allow"}
            assert len({view["pid"] for view in (await user.status())["sessions"]}) == count


async def test_prompts_from_many_clients_for_one_session_are_answered_each_once() -> None:
    with trio.fail_after(60):
        async with open_real() as rig, rig.connect() as user, rig.connect() as other:
            session = await user.open("a")
            await other.open("a")
            first = user.later(user.prompt, session, "hang")
            await user.wait_phase("a", "working")
            queued = [
                client.later(client.prompt, session, f"say {number}.")
                for number in range(5)
                for client in (user, other)
            ]
            await wait_queue_length(user, "a", 10)
            await other.cancel(session)
            assert await first.wait() == "cancelled"
            assert [await later.wait() for later in queued] == ["end_turn"] * 10
            assert sorted(user.said(session).split(".")) == sorted(["", *"0011223344"])
