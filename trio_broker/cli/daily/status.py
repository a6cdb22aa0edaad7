"""`status` and `top`: the sessions of the broker as a table, as JSON, or full screen.

`status` is asked often and imports little; the dashboard is imported when it is shown.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click

from trio_broker.cli.output import format_duration, print_json, safe, sessions_table
from trio_broker.cli.state import State, ensure_broker, pass_state, run
from trio_broker.errors import Misuse

COLOUR_SYSTEMS = {
    "standard": "STANDARD",
    "256": "EIGHT_BIT",
    "truecolor": "TRUECOLOR",
    "windows": "WINDOWS",
}  # rich's two names


@click.command("status")
@click.option("--format", "style", type=click.Choice(["text", "json"]), default="text", show_default=True)
@pass_state
def status_command(state: State, style: str) -> None:
    """Show what every session is doing. It asks no session, so a busy one does not slow it.

    \b
      trio-broker status --format json
    """
    status = state.call("_trio_broker/status")
    if style == "json":
        print_json(status)
    else:
        _print_status(status)


def _print_status(status: dict[str, Any]) -> None:
    """The picture as text: one line for the broker, one for each session."""
    counts = ", ".join(f"{number} {phase}" for phase, number in status["counts"].items() if number)
    click.echo(
        f"broker {status['version']} (pid {status['pid']}) up {format_duration(status['uptime'])}, "
        f"{status['clients']} client{'' if status['clients'] == 1 else 's'}; sessions: {counts or 'none'}"
    )
    if status["draining"]:
        click.echo("it drains: it stops when every turn has ended, and begins nothing new")
    if failing := status["journal"]["failing"]:
        lost = status["journal"]["lost"]
        click.echo(
            f"THE JOURNAL FAILS, sessions go on without it ({lost} events lost so far): {safe(failing)}"
        )
    if status["sessions"]:
        click.echo(sessions_table(status["sessions"]))
    for name, failing in status["failing"].items():
        rest = (
            f"it rests for {format_duration(failing['retry_in'])}"
            if failing["retry_in"]
            else "the next prompt tries again"
        )
        click.echo(
            f"{safe(name)}: failed to start, {failing['failures']} in a row; {rest}: {safe(failing['reason'])}"
        )


@click.command("top")
@click.option("--once", is_flag=True, help="Print one picture, and end.")
@click.option("--svg", metavar="FILE", help="Save one picture of the full screen, and end.")
@click.option(
    "--size", metavar="COLSxLINES", help="Of the picture [default: the terminal's; of --svg 140x40]."
)
@click.option("--format", "style", type=click.Choice(["text", "json"]), default="text", help="Of --once.")
@pass_state
def top_command(state: State, once: bool, svg: str | None, size: str | None, style: str) -> int:
    """Show every session, full screen: who works, who waits for you, who has gone; and act on it.

    \b
      trio-broker top                    ? shows the keys, q quits
      trio-broker top --once             one picture, for a script or a log
      trio-broker top --svg picture.svg
      TRIO_BROKER_TOKEN=tb_… trio-broker --url ws://10.0.0.7:8765 top

    The question of the selected session stands on top, with the command, the paths or the diff. `a` gives it the
    focus; only then y, n and the digits answer it, `v` shows all of it, and Esc gives the keys back.

    Needs a terminal, unless with --once or --svg. It goes on when the broker is restarted. NO_COLOR is honoured.
    Exit codes: 0 after q; 2 without a terminal; 6 if no broker is there at the start; 143 after SIGTERM (128 and
    the signal's number).
    """
    columns, lines = _parse_size(size) if size else (0, 0)
    if style == "json" and svg is not None:
        raise Misuse("--format json prints the picture, --svg draws it: choose one")
    ensure_broker(state, autostart=False)
    if style == "json":
        print_json(run(_snapshot, state))
    elif svg is not None:
        _write_file(svg, run(_render_svg, state, columns or 140, lines or 40))
    elif once:
        run(_print_once, state, columns)
    else:
        return run(_run_dashboard, state)
    return 0


def _write_file(file: str, text: str) -> None:
    try:
        Path(file).write_text(text, encoding="utf-8")
    except OSError as error:
        raise Misuse(f"--svg: {error}; name a file that can be written") from error
    click.echo(f"saved {file}", err=True)


def _parse_size(text: str) -> tuple[int, int]:
    columns, _, lines = text.partition("x")
    if not (columns.isdigit() and lines.isdigit() and 0 < int(columns) <= 1000 and 0 < int(lines) <= 1000):
        raise Misuse(f"--size: expected columns and lines, such as 140x40, not {text!r}")
    return int(columns), int(lines)


async def _snapshot(state: State) -> Any:
    async with state.connect() as client:
        return await client.call("_trio_broker/watch")


async def _print_once(state: State, columns: int) -> None:
    from rich.console import Console

    from trio_broker.tui.app import print_snapshot, take_snapshot
    from trio_broker.tui.state import State as TuiState

    console = Console(width=columns or None, highlight=False)
    async with state.connect() as client:
        print_snapshot(await take_snapshot(client, TuiState()), console)


async def _render_svg(state: State, columns: int, lines: int) -> str:
    from trio_broker.tui.app import render_full_screen
    from trio_broker.tui.screen import render_svg
    from trio_broker.tui.state import State as TuiState

    async with state.connect() as client:
        return render_svg(await render_full_screen(client, TuiState(), columns, lines), columns)


async def _run_dashboard(state: State) -> int:
    from rich.color import ColorSystem
    from rich.console import Console

    from trio_broker.tui.app import App
    from trio_broker.tui.state import State as TuiState
    from trio_broker.tui.terminal import Terminal

    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise Misuse("top needs a terminal; `trio-broker top --once` prints one picture without")
    if os.environ.get("TERM") in (None, "", "dumb"):
        raise Misuse(
            "top needs a terminal that can place its cursor: set TERM, or use `trio-broker top --once`"
        )
    async with state.connect():
        pass  # what is wrong with the URL or the token is told here, and not on a screen that goes on trying
    console = Console()
    system = None if console.no_color else console.color_system
    colours = None if system is None else ColorSystem[COLOUR_SYSTEMS[system]]
    terminal = Terminal(sys.stdin.fileno(), sys.stdout.fileno(), colours)
    app = App(terminal, lambda on_request: state.connect(on_request=on_request), TuiState(cwd=os.getcwd()))
    return await app.run()
