"""The pane on top whenever someone waits: each open question, and the key for each of its answers."""

from __future__ import annotations

from typing import Any

from rich.segment import Segment

from trio_broker.tui import look
from trio_broker.tui.state import Choice, State, answers
from trio_broker.tui.text import Line, ago, clip, visible, width_of, words

Json = dict[str, Any]
SHOWN = 3
AROUND = 7  # cells around the name of an answer


def questions(state: State, now: float, width: int, height: int) -> list[Line]:
    """A line for each question, at most `SHOWN`, and the answers of the one that keys answer."""
    asks = state.asks()
    if not asks or height < 2:
        return []
    chosen = state.asked() or asks[0]
    others = [one for one in asks if one[1] is not chosen[1]]
    at = state.clock(now)
    lines = [_question(*chosen, at, width, True), *_options(chosen[1], width, height - 1)]
    room = max(0, min(SHOWN - 2, height - len(lines)))
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


def _options(ask: Json, width: int, height: int) -> list[Line]:
    """The answers in a line; each in one of its own where that would cut one off: what a key says is to be read."""
    offered = answers(ask)
    if not offered:
        return [words(("  answer it with a client that can: ", look.DIM), visible(ask["method"]))]
    wanted = 2 + sum(width_of(visible(choice.name)) + AROUND for choice in offered)
    if wanted > width and len(offered) <= height and ask["mode"] != "form":
        return [
            [Segment("  "), *_option(number, choice, width - 2)] for number, choice in enumerate(offered, 1)
        ]
    share = width if wanted <= width else max(10 + AROUND, (width - 2) // len(offered))
    line: Line = [Segment("  ")]
    for number, choice in enumerate(offered, 1):
        line += _option(number, choice, share)
    if ask["mode"] == "form":
        line.append(Segment("it is a form: fill it in with a client that shows forms", look.DIM))
    return [line]


def _option(number: int, choice: Choice, width: int) -> Line:
    style = look.BAD if choice.refuses else look.GOOD
    return words(
        (f" {number} ", look.CHOSEN), (f" {clip(visible(choice.name), width - AROUND + 1)}   ", style)
    )
