"""Keys in each mode, the help page, and the hints."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from trio_broker.tui.input import Key
from trio_broker.tui.keymap import handle_key
from trio_broker.tui.screen import Screen, render_screen
from trio_broker.tui.state import (
    BrokerCall,
    Command,
    Effect,
    Mode,
    State,
    Tab,
    apply_scroll,
    apply_snapshot,
    mark_disconnected,
)

Json = dict[str, Any]
Make = Callable[..., Json]
Press = Callable[..., tuple[State, list[Effect]]]
Check = Callable[..., None]
ScreenText = Callable[[Screen], str]
NOW = 100.0


def test_without_a_broker_nothing_is_asked_for_and_nothing_typed_is_lost(state: State, press: Press) -> None:
    gone = mark_disconnected(state, "it died", NOW)
    for key in "pincxKXR1er[":
        after, effects = press(attrs.evolve(gone, tab=Tab.QUEUE, show_detail=True), key)
        assert (after.mode, effects) == (Mode.TABLE, []) and after.notice is not None, key
    typing, _ = press(state, "p", "h", "i")
    after, effects = press(mark_disconnected(typing, "it died", NOW), "enter")
    assert (after.mode, after.editor.text, effects) == (Mode.PROMPT, "hi", [])
    assert after.notice is not None
    assert after.notice[0] == "there is no broker to tell that; Enter tries again, Esc leaves it"
    sent, (call,) = press(attrs.evolve(after, disconnected=None), "enter")
    assert sent.mode is Mode.TABLE
    assert isinstance(call, BrokerCall) and call.method == "_trio_broker/submit"
    asking, _ = press(state, "X")
    after, effects = press(mark_disconnected(asking, "it died", NOW), "y")
    assert (after.mode, effects) == (Mode.TABLE, [])
    assert after.notice is not None and after.notice[0] == "there is no broker to tell that"


def test_filter_sort_and_help(state: State, press: Press) -> None:
    filtered, _ = press(state, "/", "i", "d", "l", "e", "enter")
    assert [row["key"] for row in filtered.visible_sessions()] == ["idle"] and filtered.selected == "idle"
    assert press(filtered, "esc")[0].filter == ""
    assert press(state, "/", "x", "esc")[0].filter == ""
    assert press(state, "s")[0].sort == press(state, ">")[0].sort == "key"
    assert press(state, "<", ">", "S")[0].reverse
    assert press(state, "?", "c") == (state, [])


def test_what_scrolls_goes_back_to_following(state: State, press: Press) -> None:
    up, _ = press(state, "pageup")
    assert up.scroll == 10
    assert press(up, "pagedown")[0].scroll == press(up, "end")[0].scroll == press(up, "esc")[0].scroll == 0
    facts, _ = press(attrs.evolve(state, tab=Tab.FACTS), "pagedown")
    assert facts.scroll == 10


def test_quitting(state: State, press: Press) -> None:
    assert press(state, "q")[1] == press(state, "ctrl-c")[1] == [Command.QUIT]
    typing, effects = press(state, "p", "q", "ctrl-c")
    assert effects == [] and typing.mode is Mode.TABLE
    assert press(state, "ctrl-l")[1] == [Command.REDRAW]
    assert press(state, "ctrl-z")[1] == [Command.SUSPEND]


def test_help(seen: State, check: Check) -> None:
    check("help", attrs.evolve(seen, mode=Mode.HELP))


def test_help_that_does_not_fit_is_scrolled_to_its_end(seen: State, screen_text: ScreenText) -> None:
    helping, _ = handle_key(seen, Key("?", "?"), 100.0)
    assert "↑ ↓ scroll, any other key goes back" in screen_text(render_screen(helping, 100.0, 60, 15))
    assert "scroll, any" not in screen_text(render_screen(helping, 100.0, 140, 40))
    told = ""
    for _ in range(40):
        shown = render_screen(helping, 100.0, 60, 15)
        assert shown.extent is not None
        told += screen_text(shown)
        helping = apply_scroll(helping, shown.extent.lines, shown.extent.scroll)
        helping, _ = handle_key(helping, Key("down", ""), 100.0)
    shown = render_screen(helping, 100.0, 60, 15)
    assert shown.extent is not None
    helping, end = apply_scroll(helping, shown.extent.lines, shown.extent.scroll), screen_text(shown)
    assert "restart its agent" in told and "Esc        leave it" in end
    assert screen_text(render_screen(handle_key(helping, Key("up", ""), 100.0)[0], 100.0, 60, 15)) != end
    assert handle_key(helping, Key("x", "x"), 100.0)[0] == seen


def test_help_fits_at_80x24_and_no_line_of_it_is_cut(seen: State, screen_text: ScreenText) -> None:
    shown = screen_text(render_screen(attrs.evolve(seen, mode=Mode.HELP), 100.0, 80, 24))
    assert shown.splitlines()[-1] == " any key goes back" and "…" not in shown


def test_the_hints_are_those_of_the_question_while_it_has_the_focus(
    seen: State, session: Make, agent_request: Make, snapshot: Make, press: Press, screen_text: ScreenText
) -> None:
    asking = session("a", asks=[agent_request("1-1", "sure?", 1.0)])

    def hints(state: State) -> str:
        return screen_text(render_screen(state, 100.0, 100, 24)).splitlines()[-1]

    state, _ = press(apply_snapshot(seen, snapshot(asking, session("b")), NOW), "g")
    assert hints(state).startswith(" a answer   prompt")
    focused, _ = press(state, "a")
    assert hints(focused).startswith(
        " y n A D 1-9 answer   v full   a next question"
    ) and "prompt" not in hints(focused)
    assert "prompt" in hints(press(focused, "esc")[0])


def test_the_last_key_is_whole_where_there_is_just_room_for_it(seen: State, screen_text: ScreenText) -> None:
    for width in range(40, 160):
        assert "…" not in screen_text(render_screen(seen, 100.0, width, 40)).splitlines()[-1], width
