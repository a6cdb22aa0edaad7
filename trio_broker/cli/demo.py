"""`demo`: three agents share a broker of their own, and the one that is busy for a minute holds up nobody."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from trio_broker.cli.run import State, listens, pass_state, run, start


@click.command("demo")
@pass_state
def demo_command(state: State) -> None:
    """Watch three demo agents share a broker of its own for some twenty seconds. Needs no key and no network."""
    from trio_broker.cli.play import show

    with _home() as home:
        os.environ["TRIO_BROKER_HOME"] = str(home)  # a broker of its own: nothing of yours is touched
        os.environ.pop("TRIO_BROKER_CONFIG", None)
        private = State()
        start(private)
        try:
            run(show, private)
        finally:
            _stop(private)
    click.echo(NEXT)


@click.command("demo-agent")
def demo_agent_command() -> int:
    """Be the demo's agent: ACP on stdin and stdout, no key, no network. Any ACP client can start it."""
    from trio_broker import demo_agent

    return demo_agent.main()


NEXT = """
What you saw: one agent in a tool call that said nothing, and nobody waited for it. Next:
  trio-broker demo-agent           the agent you saw, for your editor to start
  trio-broker prompt -a demo hi    a broker that stays, and a session of this directory
  trio-broker agents list          the real agents it knows by name; try `trio-broker claude "…"`"""


@contextmanager
def _home() -> Iterator[Path]:
    home = Path(tempfile.mkdtemp(prefix="trio-broker-demo-"))
    try:
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _stop(private: State) -> None:
    if listens(private.paths):
        command = [sys.executable, "-m", "trio_broker", "down"]
        subprocess.run(command, check=False, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
