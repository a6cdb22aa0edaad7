"""What each action makes of the state, and which calls it asks for, as keys start it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest

from trio_broker.tui.state import (
    BrokerCall,
    Effect,
    Mode,
    State,
    apply_snapshot,
)

Json = dict[str, Any]
Make = Callable[..., Json]
Press = Callable[..., tuple[State, list[Effect]]]
NOW = 100.0


def calls(effects: list[Effect]) -> list[tuple[str, Json]]:
    return [
        (one.method.removeprefix("_trio_broker/"), one.params)
        for one in effects
        if isinstance(one, BrokerCall)
    ]


def notice_text(state: State) -> str:
    return state.notice[0] if state.notice else ""


@pytest.mark.parametrize(
    ("keys", "call"),
    [
        (["c"], ("cancel", {"key": "busy", "promptId": "p0"})),
        (["K"], ("kill", {"key": "busy"})),
        (["X"], ("close", {"key": "busy"})),
        (["R"], ("restart", {"key": "busy"})),
        (["tab", "x"], ("queue_edit", {"key": "busy", "promptId": "p1", "remove": True})),
        (
            ["i", "g", "o", "enter"],
            (
                "submit",
                {"key": "busy", "prompt": [{"type": "text", "text": "go"}], "ifBusy": "interrupt"},
            ),
        ),
    ],
)
def test_what_is_dangerous_asks_first(
    keys: list[str], call: tuple[str, Json], state: State, press: Press
) -> None:
    asked, effects = press(state, *keys)
    assert asked.mode is Mode.CONFIRM and effects == []
    for no in ("n", "esc", "enter", "q", "ctrl-c"):
        after, effects = press(asked, no)
        assert after.mode is Mode.TABLE and effects == []
    assert press(asked, "z") == (asked, [])
    after, effects = press(asked, "y")
    assert after.mode is Mode.TABLE and calls(effects) == [call]


def test_a_prompt_is_sent_and_the_session_left_again(state: State, press: Press) -> None:
    state, effects = press(state, "down", "p", "h", "i", "alt-enter", "!", "enter")
    (call,) = effects
    assert isinstance(call, BrokerCall) and call.then is not None
    assert calls([call, call.then]) == [
        ("submit", {"key": "idle", "prompt": [{"type": "text", "text": "hi\n!"}]}),
        ("detach", {"key": "idle"}),
    ]
    assert state.history == ("hi\n!",) and state.mode is Mode.TABLE


def test_an_interrupt_where_nothing_runs_is_a_prompt(state: State, press: Press) -> None:
    _, effects = press(state, "down", "i", "x", "enter")
    assert calls(effects) == [("submit", {"key": "idle", "prompt": [{"type": "text", "text": "x"}]})]


def test_an_empty_prompt_is_none(state: State, press: Press) -> None:
    after, effects = press(state, "p", " ", "enter")
    assert after.mode is Mode.TABLE and effects == []


def test_who_takes_part_stays_after_a_prompt(state: State, press: Press) -> None:
    _, effects = press(attrs.evolve(state, roles={"busy": "controller"}), "p", "x", "enter")
    (call,) = effects
    assert isinstance(call, BrokerCall) and call.then is None


def test_the_role_goes_round(state: State, press: Press) -> None:
    seen = []
    for _ in range(3):
        state, (call,) = press(state, "r")
        assert isinstance(call, BrokerCall) and call.on_result is not None
        seen += calls([call])
        state = call.on_result(state, {}, NOW)
    assert seen == [
        ("attach", {"key": "busy", "role": "observer"}),
        ("attach", {"key": "busy", "role": "controller"}),
        ("detach", {"key": "busy"}),
    ]
    assert state.roles == {}


@pytest.mark.parametrize("key", list("picKXR"))
def test_who_observes_has_no_hand_in_it(key: str, state: State, press: Press) -> None:
    after, effects = press(attrs.evolve(state, roles={"busy": "observer"}), key)
    assert effects == [] and after.mode is Mode.TABLE and "press r" in notice_text(after)


def test_queued_prompts_are_chosen_by_what_they_are_and_not_by_their_place(
    state: State, session: Make, snapshot: Make, press: Press
) -> None:
    state, _ = press(state, "enter", "tab", "down", "down")
    assert state.selected_prompt == "p3" and state.queue_index == 2
    rest = [{"promptId": f"p{n}", "text": f"number {n}", "position": n - 1} for n in (2, 3)]
    state = apply_snapshot(state, snapshot(session("busy", queue=2, queued=rest)), NOW)
    assert state.queue_index == 1
    _, effects = press(state, "[")
    assert calls(effects) == [("queue_edit", {"key": "busy", "promptId": "p3", "position": 1})]
    after, effects = press(state, "]")
    assert effects == [] and notice_text(after) == "it is the last"


def test_a_queued_prompt_is_edited_whole(state: State, press: Press) -> None:
    state, (call,) = press(state, "tab", "e")
    assert isinstance(call, BrokerCall) and call.on_result is not None
    assert calls([call]) == [("queue", {"key": "busy", "promptId": "p1"})]
    whole = {"promptId": "p1", "prompt": [{"type": "text", "text": "all of it"}]}
    state = call.on_result(state, whole, NOW)
    assert state.mode is Mode.EDIT and state.editor.text == "all of it"
    edited, effects = press(state, "!", "enter")
    again, _ = press(edited, "p", "up")
    assert again.editor.text == "all of it!", "it is not lost when the prompt runs by now, and is not changed"
    blocks = [{"type": "text", "text": "all of it!"}]
    assert calls(effects) == [("queue_edit", {"key": "busy", "promptId": "p1", "prompt": blocks})]
    image = {"promptId": "p1", "prompt": [{"type": "image", "data": ""}]}
    assert "more than text" in notice_text(call.on_result(attrs.evolve(state, mode=Mode.TABLE), image, NOW))


def test_the_queue_is_changed_only_where_it_is_seen(state: State, press: Press) -> None:
    for key in ("e", "x", "[", "]"):
        after, effects = press(state, key)
        assert effects == [] and "Tab to the queue" in notice_text(after)


def test_a_new_session_is_made_in_three_lines(state: State, press: Press) -> None:
    state, effects = press(state, "n")
    assert state.editor.text == "demo"
    state, effects = press(state, "enter")
    assert state.editor.text == "/srv/work" and calls(effects) == [("bind", {"agent": "demo"})]
    state, _ = press(state, "enter")
    assert state.editor.text == "demo:/srv/work"
    state, effects = press(state, "ctrl-u", "x", "enter")
    assert calls(effects) == [("open", {"key": "x", "cwd": "/srv/work", "agent": "demo"})]
    assert calls(press(state, "n", "enter", "esc")[1]) == [("bind", {"agent": "demo"})]


def test_an_agent_that_there_is_not_is_asked_for_again_at_once(state: State, press: Press) -> None:
    state, (effect,) = press(state, "n", "ctrl-u", "x", "enter")
    assert isinstance(effect, BrokerCall) and effect.on_error is not None
    again = effect.on_error(state, NOW)
    assert (again.mode, again.form, again.editor.text) == (Mode.NEW, (), "x")
    type_keys, _ = press(state, "/", "a")
    for elsewhere in (type_keys, press(state, "esc")[0], press(state, "enter")[0]):
        assert effect.on_error(elsewhere, NOW) == elsewhere


def test_a_new_session_that_is_refused_is_offered_again_as_it_was_typed(state: State, press: Press) -> None:
    state, (*_, call) = press(state, "n", "enter", "/", "x", "enter", "ctrl-u", "k", "enter")
    assert isinstance(call, BrokerCall) and call.on_result is not None
    offered, _ = press(state, "n")
    for text in ("demo", "/srv/work/x", "k"):
        assert offered.editor.text == text
        offered, _ = press(offered, "enter")
    state, (*_, other) = press(state, "n", "enter", "enter", "ctrl-u", *"demo:/srv/work/x", "enter")
    assert isinstance(other, BrokerCall)
    assert press(state, "n", "enter", "2", "enter")[0].editor.text == "demo:/srv/work/x2"
    there = attrs.evolve(call.on_result(state, {}, NOW), selected="idle")
    assert press(there, "n", "enter", "enter")[0].editor.text == "demo:/srv/work"


def test_a_new_session_is_looked_at_unless_the_person_is_elsewhere(
    state: State, session: Make, snapshot: Make, press: Press
) -> None:
    state, (*_, call) = press(state, "n", "enter", "enter", "ctrl-u", "k", "enter")
    assert isinstance(call, BrokerCall) and call.on_result is not None
    assert call.on_result(state, {}, NOW).selected == "busy"  # no snapshot has it yet
    state = apply_snapshot(state, snapshot(*state.sessions, session("k")), NOW)
    assert call.on_result(state, {}, NOW).selected == "k"
    for elsewhere in (press(state, "down")[0], press(state, "p")[0]):
        assert call.on_result(elsewhere, {}, NOW).selected == elsewhere.selected
