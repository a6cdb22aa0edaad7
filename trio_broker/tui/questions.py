"""The pane on top whenever someone waits: each open question, and the key for each of its answers."""

from __future__ import annotations

from typing import Any

from rich.segment import Segment

from trio_broker.tui import look
from trio_broker.tui.state import State, answers
from trio_broker.tui.text import Line, ago, clip, visible, width_of, words

Json = dict[str, Any]
SHOWN = 3


def questions(state: State, now: float, width: int, height: int) -> list[Line]:
    """A line for each question, at most `SHOWN`, and the answers of the one that keys answer."""
    asks = state.asks()
    if not asks or height < 2:
        return []
    chosen = state.asked() or asks[0]
    others = [one for one in asks if one[1] is not chosen[1]]
    at = state.clock(now)
    lines = [_question(*chosen, at, width, True), *_options(chosen[1], width)]
    room = max(0, min(SHOWN, height) - 2)
    shown = others[:room]
    lines += [_question(*one, at, width, False) for one in shown]
    if len(others) > len(shown):
        lines[0].append(Segment(f"  +{len(others) - len(shown)} more", look.ASKS))
    return lines


def _question(view: Json, ask: Json, at: float, width: int, chosen: bool) -> Line:
    since = ago(at - ask["since"]) if ask["since"] is not None else "-"
    who = clip(visible(view["key"]), 28)
    title = visible(ask["title"] or ask["method"])
    left = width - width_of(who) - len(since) - 10
    style = look.ASKS if chosen else look.SOFT_ASK
    return words(
        ("▲ ", style),
        (who, look.BOLD if chosen else None),
        "  ",
        (clip(title, max(8, left)), style),
        (f"  {since}", look.DIM),
    )


def _options(ask: Json, width: int) -> list[Line]:
    offered = answers(ask)
    if not offered:
        return [words(("  answer it with a client that can: ", look.DIM), visible(ask["method"]))]
    line: Line = [Segment("  ")]
    share = max(10, (width - 2) // len(offered) - 6)
    for number, choice in enumerate(offered, 1):
        line += [
            Segment(f" {number} ", look.CHOSEN),
            Segment(f" {clip(visible(choice.name), share)}   ", look.BAD if choice.refuses else look.GOOD),
        ]
    if ask["mode"] == "form":
        line.append(Segment("it is a form: fill it in with a client that shows forms", look.DIM))
    return [line]
