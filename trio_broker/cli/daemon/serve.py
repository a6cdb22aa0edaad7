"""`serve`, `up`, `down`."""

from __future__ import annotations

import logging
import os
import signal
import sys

import attrs
import click

from trio_broker import __version__
from trio_broker.cli.background import (
    is_listening,
    lock_holder,
    start_daemon,
    wait_ended,
    wait_start_finished,
)
from trio_broker.cli.options import NON_NEGATIVE
from trio_broker.cli.output import print_json
from trio_broker.cli.state import State, pass_state, require_local_broker, run
from trio_broker.config.config import BrokerConfig
from trio_broker.errors import ConfigError

STOP_MARGIN = 10.0  # seconds over the ladder's two graces


@click.command("serve")
@click.option("--log-level", default="info", type=click.Choice(["debug", "info", "warning", "error"]))
@click.option("--websocket", metavar="HOST:PORT", help="Also listen there [default: websocket in [listen]].")
@click.option(
    "--insecure-bind", is_flag=True, help="Let other machines in without TLS: their tokens can be read."
)
@click.option(
    "--start-lock", type=int, hidden=True, help="A file descriptor to close when clients can connect."
)
@pass_state
def serve_command(
    state: State, log_level: str, websocket: str | None, insecure_bind: bool, start_lock: int | None
) -> None:
    """Be the broker, in the foreground, until Ctrl-C or `trio-broker down`.

    The first Ctrl-C ends every agent politely, a second one at once. Clients of the WebSocket need a token.

    \b
      trio-broker serve --websocket 127.0.0.1:8765
      trio-broker token new --name phone --scope prompt --scope answer
    """
    require_local_broker(state, "serve")
    from trio_broker.daemon import run_daemon
    from trio_broker.ioutil import tune_gc

    logging.basicConfig(
        level=log_level.upper(), stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s"
    )
    config = state.config
    listening = attrs.evolve(
        config.listen,
        websocket=websocket or config.listen.websocket,
        insecure_bind=insecure_bind or config.listen.insecure_bind,
    )

    def ready(listeners: dict[str, str]) -> None:
        addresses = " and ".join(listeners.values())
        click.echo(
            f"trio-broker {__version__} serves {addresses} (pid {os.getpid()}); Ctrl-C ends it", err=True
        )
        if start_lock is not None:
            os.close(start_lock)

    tune_gc()
    try:
        run(run_daemon, state.paths, attrs.evolve(config, listen=listening), ready)
    except OSError:
        logging.getLogger(__name__).exception("broker_failed")  # the person is told one line of it
        raise


@click.command("up")
@pass_state
def up_command(state: State) -> None:
    """Start the broker in the background, unless one runs already."""
    require_local_broker(state, "up")
    if is_listening(state.paths):
        click.echo(f"a broker already serves {state.paths.socket}", err=True)
        return
    state.config  # noqa: B018  # a mistake in it is told here, rather than in the daemon's log
    start_daemon(state.paths)
    click.echo(f"the broker serves {state.paths.socket}; its log is {state.paths.log}", err=True)


@click.command("down")
@click.option(
    "--drain", is_flag=True, help="Wait until every turn has ended; nothing new is begun meanwhile."
)
@click.option(
    "--timeout",
    type=NON_NEGATIVE,
    metavar="S",
    help="With --drain: after S seconds stop it as without.",
)
@click.option("--format", "style", type=click.Choice(["text", "json", "quiet"]), default="text")
@pass_state
def down_command(state: State, drain: bool, timeout: float | None, style: str) -> None:
    """Stop the broker: every session ends, and no process of any agent is left.

    Sessions can be resumed after the next start. Prompts queued with --no-wait are kept and run then; those that
    somebody waits for end, and say so.

    \b
      trio-broker down
      trio-broker down --drain --timeout 600

    Ctrl-C while it drains leaves it draining.
    """
    require_local_broker(state, "down")
    wait_start_finished(state.paths)
    held = lock_holder(state.paths)
    if is_listening(state.paths):
        kept = run(_shut_down, state, drain, timeout)
    elif held:
        kept = _signal_unreachable(state, int(held[0]))
    else:
        click.echo(f"no broker serves {state.paths.socket}: nothing to stop", err=True)
        return
    wait_ended(state.paths, held, _stop_timeout(state))
    if style == "json":
        print_json({"action": "broker_stopped", "socket": str(state.paths.socket), "kept": kept})
    elif style == "text":
        what = "1 queued prompt is kept and runs" if kept == 1 else f"{kept} queued prompts are kept and run"
        more = f"; {what} after the next start" if kept else ""
        click.echo(f"the broker has ended, and its agents with it{more}", err=True)


def _signal_unreachable(state: State, pid: int) -> int:
    """Its socket was removed, or is not there yet: a signal ends it as well."""
    click.echo(
        f"a broker (pid {pid}) lives, and {state.paths.socket} is not its socket: it is signalled", err=True
    )
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        pass  # it has just ended
    return 0


async def _shut_down(state: State, drain: bool, seconds: float | None) -> int:
    """How many prompts wait for the next start; of a drain, which ends when none is left, none."""
    import trio

    async with state.connect() as client:
        if drain:
            await client.call("_trio_broker/shutdown", {"drain": True})
            with trio.move_on_after(float("inf") if seconds is None else seconds):
                await client.disconnected.wait()
                return 0
            click.echo(
                f"some turns have not ended within {seconds:g} s (--timeout): they are ended now", err=True
            )
        answer = await client.call("_trio_broker/shutdown")
        await client.disconnected.wait()
    kept: int = answer.get("kept", 0)
    return kept


def _stop_timeout(state: State) -> float:
    """Seconds for the broker to end."""
    try:
        broker = state.config.broker
    except ConfigError:  # a mistake made since the daemon read it
        broker = BrokerConfig()
    return broker.close_grace + broker.term_grace + STOP_MARGIN
