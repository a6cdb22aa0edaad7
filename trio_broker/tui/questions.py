"""The pane on top whenever someone waits: each open question, and the key for each of its answers."""

from __future__ import annotations

from typing import Any

from rich.segment import Segment

from trio_broker.tui.state import AnswerChoice, State, answer_choices
from trio_broker.tui.text import Line, Theme, clip, format_duration, styled, visible, width_of

Json = dict[str, Any]
MAX_REQUESTS = 3
ANSWER_PADDING = 7  # cells around the name of an answer


def render_requests(state: State, now: float, width: int, height: int) -> list[Line]:
    """A line for each question, at most `SHOWN`, and the answers of the one that keys answer."""
    requests = state.requests()
    if not requests or height < 2:
        return []
    current = state.current_request() or requests[0]
    others = [request for request in requests if request[1] is not current[1]]
    at = state.broker_time(now)
    lines = [_request_line(*current, at, width, True), *_choice_lines(current[1], width, height - 1)]
    room = max(0, min(MAX_REQUESTS - 2, height - len(lines)))
    shown = others[:room]
    lines += [_request_line(*request, at, width, False) for request in shown]
    if len(others) > len(shown):
        lines[0].append(Segment(f"  +{len(others) - len(shown)} more", Theme.ATTENTION))
    return lines


def _request_line(session: Json, request: Json, at: float, width: int, current: bool) -> Line:
    since = format_duration(at - request["since"]) if request["since"] is not None else "-"
    who = clip(visible(session["key"]), 28)
    title = visible(request["title"] or request["method"])
    left = width - width_of(who) - len(since) - 10
    style = Theme.ATTENTION if current else Theme.WARNING
    return styled(
        ("▲ ", style),
        (who, Theme.BOLD if current else None),
        "  ",
        (clip(title, max(8, left)), style),
        (f"  {since}", Theme.DIM),
    )


def _choice_lines(request: Json, width: int, height: int) -> list[Line]:
    """The answers in a line; each in one of its own where that would cut one off: what a key says is to be read."""
    choices = answer_choices(request)
    if not choices:
        return [styled(("  answer it with a client that can: ", Theme.DIM), visible(request["method"]))]
    needed = 2 + sum(width_of(visible(choice.name)) + ANSWER_PADDING for choice in choices)
    if needed > width and len(choices) <= height and request["mode"] != "form":
        return [
            [Segment("  "), *_choice(number, choice, width - 2)] for number, choice in enumerate(choices, 1)
        ]
    share = width if needed <= width else max(10 + ANSWER_PADDING, (width - 2) // len(choices))
    line: Line = [Segment("  ")]
    for number, choice in enumerate(choices, 1):
        line += _choice(number, choice, share)
    if request["mode"] == "form":
        line.append(Segment("it is a form: fill it in with a client that shows forms", Theme.DIM))
    return [line]


def _choice(number: int, choice: AnswerChoice, width: int) -> Line:
    style = Theme.ERROR if choice.is_rejection else Theme.SUCCESS
    return styled(
        (f" {number} ", Theme.SELECTED),
        (f" {clip(visible(choice.name), width - ANSWER_PADDING + 1)}   ", style),
    )
