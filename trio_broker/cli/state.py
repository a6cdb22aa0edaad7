"""The object that every command gets, and the functions that start a broker and run async code.

`State` holds the options before the command. Paths, configuration and the client are imported when first used, so that
quick commands stay quick.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import click

from trio_broker.cli.background import is_listening, start_daemon
from trio_broker.errors import BrokerError, Misuse

if TYPE_CHECKING:
    import trio

    from trio_broker.agent.installed import InstalledAgents
    from trio_broker.client import Client
    from trio_broker.config.config import Config
    from trio_broker.config.paths import Paths

T = TypeVar("T")


class State:
    """What the words before the command said; paths and configuration are read when first needed.

    `url` is that of a broker elsewhere, None the one of this home. What takes long to import is imported late.
    """

    def __init__(
        self,
        config_path: str | None = None,
        agent: str | None = None,
        url: str | None = None,
        token: str | None = None,
    ) -> None:
        self.config_path = config_path
        self.agent = agent
        self.url = url
        self.token = token

    @cached_property
    def paths(self) -> Paths:
        from trio_broker.config.paths import Paths

        return Paths.from_env(os.environ, self.config_path)

    @cached_property
    def config(self) -> Config:
        from trio_broker.config import config

        return config.load(self.paths.config, must_exist=self.paths.config_named)

    @cached_property
    def installed(self) -> InstalledAgents:
        from trio_broker.agent.installed import InstalledAgents

        return InstalledAgents(self.paths.agents)

    def connect(self, **handlers: Any) -> AbstractAsyncContextManager[Client]:
        """A client of the broker that was meant; `handlers` as `open_client` takes them. Raises NoBroker."""
        from trio_broker.client import open_client

        return open_client(self.url or self.paths.socket, token=self.token, **handlers)

    def call(self, method: str, params: object = None, *, patience: float | None = None) -> Any:
        """Send one request and return its result; without Trio if the broker is local. Raises NoBroker, BrokerError."""
        if self.url is None:
            from trio_broker.client import blocking

            return blocking.call(self.paths.socket, method, params, timeout=patience)
        return run(self._call, method, params)

    async def _call(self, method: str, params: object) -> Any:
        async with self.connect() as client:
            return await client.call(method, params)


pass_state = click.make_pass_decorator(State, ensure=True)


def run(main: Callable[..., Awaitable[T]], *args: Any) -> T:
    """Run async code; the first of the broker's errors that it ends with is raised bare, as there is one to show."""
    import trio  # late: half of the start-up time of commands that need none

    result: T
    failure: BrokerError | None = None
    try:
        result = trio.run(main, *args)
    except* BrokerError as group:
        failure = first_error(group)
    except* (KeyboardInterrupt, OSError, click.ClickException) as group:
        raise first_error(group) from None
    if failure is not None:
        raise failure
    return result


def run_until_signal(main: Callable[..., Awaitable[T]], *args: Any) -> T:
    """`run` for what has processes of its own: SIGTERM and a closed terminal end them too, as Ctrl-C does."""
    result: T = run(_run_until_signal, main, *args)
    return result


async def _run_until_signal(main: Callable[..., Awaitable[T]], *args: Any) -> T:
    import trio

    async with trio.open_nursery() as nursery:
        await nursery.start(_interrupt_on_signal)
        result = await main(*args)
        nursery.cancel_scope.cancel()
    return result


async def _interrupt_on_signal(*, task_status: trio.TaskStatus[None]) -> None:
    import trio

    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGHUP) as signals:
        task_status.started()
        async for _ in signals:
            raise KeyboardInterrupt


def first_error(group: BaseExceptionGroup[Any]) -> Any:
    """Return the first error of a group that is not a group itself."""
    error: Any = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def ensure_broker(state: State, *, autostart: bool) -> None:
    """Make sure that a broker listens, starting it in the background if need be. Raises NoBroker.

    One that was named by its URL is not looked for: connecting tells.
    """
    if state.url is not None or is_listening(state.paths):
        return
    if not autostart:
        from trio_broker.client import blocking

        raise blocking.no_broker_error(state.paths.socket)
    state.config  # noqa: B018  # a mistake in it is told here, rather than in the daemon's log
    start_daemon(state.paths)


def require_local_broker(state: State, command: str) -> None:
    """Raises Misuse if another broker than that of this home was named, which `command` has no way to act on."""
    if state.url is not None:
        raise Misuse(
            f"`{command}` is about the broker of this machine; leave out --url (and TRIO_BROKER_URL)"
        )
