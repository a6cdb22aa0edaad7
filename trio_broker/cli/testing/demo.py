"""`demo`: three agents share a broker of their own, and the one that is busy for a minute holds up nobody."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from trio_broker.cli.background import is_listening, start_daemon
from trio_broker.cli.state import State, pass_state, run
from trio_broker.errors import Misuse


@click.command("demo")
@click.argument("words", nargs=-1, metavar="")
@pass_state
def demo_command(state: State, words: tuple[str, ...]) -> None:
    """Watch three demo agents share a broker of its own for some twenty seconds. Needs no key and no network."""
    if words:
        raise Misuse("`demo` is the play, and takes no words; for the agent: `trio-broker prompt -a demo …`")
    from trio_broker.cli.testing.demo_scenario import run_demo

    with _temporary_home() as home:
        os.environ["TRIO_BROKER_HOME"] = str(home)  # a broker of its own: nothing of yours is touched
        os.environ.pop("TRIO_BROKER_CONFIG", None)
        private = State()
        start_daemon(private.paths)
        try:
            run(run_demo, private)
        finally:
            _stop_broker(private)
    click.echo(_next_steps())


@click.command("demo-agent")
def demo_agent_command() -> int:
    """Be the demo's agent: ACP on stdin and stdout, no key, no network. Any ACP client can start it.

    Each turn plays a small scene: it thinks, plans, reads, asks whether it may edit. Words in a prompt change that:

    \b
      build, build 30    a tool call that says nothing for a minute, or so many seconds; nothing is asked
      fast               ten times as fast (but for such a build)

    \b
      trio-broker prompt -a demo --approve-all "fast: hello"

    TRIO_BROKER_DEMO_SPEED=10 hurries it too.
    """
    from trio_broker import demo_agent

    return demo_agent.main()


NEXT_STEPS = {
    "prompt -a demo hi": "a broker that stays, and a session of this directory",
    "status": "what it is doing; `down` ends it",
    "agents list": "the real agents it knows by name: `prompt -a claude …`",
    "demo-agent": "the agent you saw, for your editor to start",
}


def _next_steps() -> str:
    head = "\nWhat you saw: one agent in a tool call that said nothing, and nobody waited for it. Next:"
    return "\n".join(
        [head, *(f"  {_program()} {words:<18} {description}" for words, description in NEXT_STEPS.items())]
    )


def _program() -> str:
    """What starts this program here: its bare name only where PATH has it."""
    program = sys.argv[0]
    if os.path.basename(program) != "trio-broker":
        return f"{shlex.quote(sys.executable)} -m trio_broker"
    if shutil.which("trio-broker"):
        return "trio-broker"
    near = os.path.relpath(program)
    return shlex.quote(program if near.startswith("..") else near)


@contextmanager
def _temporary_home() -> Iterator[Path]:
    home = Path(tempfile.mkdtemp(prefix="trio-broker-demo-"))
    try:
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _stop_broker(private: State) -> None:
    if is_listening(private.paths):
        command = [sys.executable, "-m", "trio_broker", "down"]
        subprocess.run(command, check=False, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
