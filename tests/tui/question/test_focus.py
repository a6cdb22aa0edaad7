"""Keys answer the question that has the focus and has been on the screen, and no other one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from tests.tui.conftest import (
    draw_frame,
    load_questions,
    make_diff,
    make_request,
    make_session,
    make_snapshot,
    press_keys,
    screen_lines,
)
from trio_broker.tui.input import Key
from trio_broker.tui.keymap import handle_key
from trio_broker.tui.question.focus import (
    ANSWER_DELAY,
    apply_drawn,
    apply_fetch_error,
    apply_question,
    wanted_question,
)
from trio_broker.tui.screen import render_screen
from trio_broker.tui.state import (
    BrokerCall,
    Effect,
    Mode,
    State,
    apply_snapshot,
    mark_disconnected,
)

Json = dict[str, Any]
Make = Callable[..., Json]
Press = Callable[..., tuple[State, list[Effect]]]
Change = Callable[..., State]
NOW = 100.0
LATER = NOW + ANSWER_DELAY
ANSWER_KEYS = ("1", "2", "3", "y", "n", "A", "D", "d")


def answers(effects: list[Effect]) -> list[Json]:
    calls = [one for one in effects if isinstance(one, BrokerCall)]
    assert {one.method for one in calls} <= {"_trio_broker/answer"}
    return [one.params for one in calls]


def notice_text(state: State) -> str:
    return state.notice[0] if state.notice else ""


@pytest.fixture
def two(session: Make, agent_request: Make, snapshot: Make, load: Change) -> State:
    """`web`, which is selected, asks for longer than `api`; `quiet` asks nothing."""
    web = session("web", phase="waiting", asks=[agent_request("1-1", "Build the site", 10.0)])
    api = session("api", phase="waiting", asks=[agent_request("2-1", "Change greet.py", 50.0)])
    return load(apply_snapshot(State(), snapshot(web, api, session("quiet")), NOW))


def test_no_key_answers_without_the_focus(two: State, press: Press, draw: Change) -> None:
    for moves in ((), ("j",), ("j", "j")):
        state = draw(press(two, *moves)[0])
        for key in ("1", "2", "3", "9", "y"):
            after, effects = press(draw(state, LATER), key, now=LATER + 1)
            assert effects == [] and after.mode is Mode.TABLE
            leads = "this session asks nothing; a goes" if moves == ("j", "j") else "press a first"
            assert leads in notice_text(after)
    after, effects = press(attrs.evolve(two, snapshot=make_snapshot(make_session("web"))), "1")
    assert effects == [] and notice_text(after) == "no question waits"


def test_the_question_of_the_selected_session_is_answered(two: State, press: Press, draw: Change) -> None:
    state, _ = press(two, "j", "a")
    after, effects = press(draw(state), "1", now=LATER)
    assert answers(effects) == [{"askId": "2-1", "optionId": "apply"}]
    assert after.mode is Mode.TABLE and after.selected == "api" and after.current_request() is None
    state, _ = press(two, "a")
    assert answers(press(draw(state), "n", now=LATER)[1]) == [{"askId": "1-1", "optionId": "leave"}]


def test_a_goes_round_through_all_questions(
    session: Make, agent_request: Make, snapshot: Make, press: Press
) -> None:
    web = session("web", asks=[agent_request("1-2", "b", 60.0), agent_request("1-1", "a", 10.0)])
    api = session("api", asks=[agent_request("2-1", "c", 50.0)])
    state = apply_snapshot(State(filter="qui"), snapshot(session("quiet"), web, api), NOW)
    assert state.selected == "quiet"
    seen = []
    for _ in range(4):
        state, _ = press(state, "a")
        assert state.mode is Mode.QUESTION and state.session in state.visible_sessions()
        seen.append(state.selected_request)
    assert seen == [("web", "1-1"), ("api", "2-1"), ("web", "1-2"), ("web", "1-1")]
    assert press(state, "esc", "a")[0].selected_request == ("web", "1-1")


def test_a_question_has_to_be_on_the_screen_for_a_moment(two: State, press: Press, draw: Change) -> None:
    state, _ = press(two, "a")
    after, effects = press(state, "y", now=NOW + 9)
    assert effects == [] and "only just come" in notice_text(after), "it has never been drawn"
    after, effects = press(draw(state, NOW + 9), "y", now=NOW + 9.4)
    assert effects == [] and "only just come" in notice_text(after)
    assert answers(press(draw(state, NOW + 9), "y", now=NOW + 9.5)[1]) == [
        {"askId": "1-1", "optionId": "apply"}
    ]


@pytest.mark.parametrize("change", [("esc", "a"), ("a",), ("a", "a"), ("?", "x", "a"), ("ctrl-z",)])
def test_each_change_of_selection_or_focus_starts_the_time_again(
    change: tuple[str, ...], two: State, press: Press, draw: Change
) -> None:
    state = draw(press(two, "a")[0])
    state, _ = press(state, *change, now=LATER)
    assert press(state, "y", now=LATER + 0.1)[1] == []
    state = draw(state, LATER + 0.2)
    assert press(state, "y", now=LATER + 0.3)[1] == []
    assert len(press(draw(state, LATER + 0.4), "y", now=LATER + 0.7)[1]) == 1


def test_a_frame_that_was_written_too_late_counts_for_nothing(two: State, press: Press) -> None:
    state, _ = press(two, "a")
    shown = render_screen(state, NOW, 80, 24)
    other, _ = press(state, "a")
    assert press(apply_drawn(other, shown.question, NOW), "y", now=NOW + 9)[1] == []
    again = apply_question(state, ("web", "1-1"), dict(state.requests()[0][1]))
    assert press(apply_drawn(again, shown.question, NOW), "y", now=NOW + 9)[1] == [], (
        "its text is another one now"
    )
    without_focus = render_screen(two, NOW, 80, 24)
    assert press(apply_drawn(state, without_focus.question, NOW), "y", now=NOW + 9)[1] == []


def test_another_question_of_the_same_session_starts_the_time_again(
    session: Make, agent_request: Make, snapshot: Make, load: Change, press: Press, draw: Change
) -> None:
    web = session("web", asks=[agent_request("1-1", "a", 10.0), agent_request("1-2", "b", 20.0)])
    state = draw(press(load(apply_snapshot(State(), snapshot(web), NOW)), "a")[0])
    assert press(press(state, "a")[0], "y", now=LATER)[1] == []
    assert press(press(state, "a", "a")[0], "y", now=LATER)[1] == []
    assert len(press(state, "y", now=LATER)[1]) == 1


def test_where_there_is_no_room_for_the_choices_no_key_answers(
    session: Make, agent_request: Make, snapshot: Make, load: Change, press: Press, draw: Change
) -> None:
    options = [{"optionId": str(n), "name": f"Number {n}", "kind": "allow_once"} for n in range(9)]
    web = session("web", asks=[agent_request("1-1", "a", 10.0) | {"options": options}])
    state, _ = press(load(apply_snapshot(State(), snapshot(web), NOW)), "a")
    small = draw(state, NOW, 40, 8)
    after, effects = press(small, "5", now=NOW + 9)
    assert effects == [] and "make the window larger" in notice_text(after)
    assert "make the window larger to see" in screen_lines(render_screen(state, NOW, 40, 8))
    large = draw(small, NOW + 9, 80, 12)
    assert press(large, "5", now=NOW + 9)[1] == []
    assert answers(press(large, "5", now=NOW + 10)[1]) == [{"askId": "1-1", "optionId": "4"}]
    assert press(draw(large, NOW + 10, 30, 5), "5", now=NOW + 20)[1] == [], "a window that shows nothing"


@pytest.mark.parametrize("key", ANSWER_KEYS)
def test_a_question_that_is_settled_elsewhere_takes_the_focus_with_it(
    key: str, two: State, session: Make, snapshot: Make, press: Press, draw: Change
) -> None:
    state = draw(press(two, "a")[0])
    api = two.sessions[1]
    web = session("web", asks=[make_request("1-9", "Another", 99.0)])
    for rest in ((session("web"), api), (web, api), (api,)):
        after = draw(apply_snapshot(state, snapshot(*rest), LATER), LATER)
        assert after.mode is Mode.TABLE and after.focus is None and notice_text(after)
        assert press(draw(after, LATER + 9), key, now=LATER + 9)[1] == []


def test_always_asks_for_a_second_key(two: State, press: Press, draw: Change) -> None:
    state = draw(press(two, "a")[0])
    for key in ("2", "A"):
        asked, effects = press(state, key, now=LATER)
        assert effects == [] and asked.focus is not None and asked.focus.confirming is not None
        assert (
            "not only this once? allow always: Apply, and do not"
            in screen_lines(render_screen(asked, LATER, 80, 24)).splitlines()[-1]
        )
        after, effects = press(draw(asked, LATER), "y", now=LATER)
        assert answers(effects) == [{"askId": "1-1", "optionId": "always"}]
        for again in ("2", "A"):
            assert press(asked, again, now=LATER) == (asked, [])
        for no in ("n", "1", "3", "enter", "esc", "a", "paste"):
            after, effects = press(asked, no, now=LATER)
            assert effects == [] and notice_text(after) == "nothing was answered"
            assert after.mode is Mode.QUESTION and after.selected_request == ("web", "1-1")
    gone = apply_snapshot(asked, make_snapshot(*two.sessions[1:]), LATER)
    assert press(gone, "y", now=LATER + 9)[1] == []
    replaced = apply_question(asked, ("web", "1-1"), dict(two.requests()[0][1]))
    assert press(replaced, "y", now=LATER + 9)[1] == []
    assert press(draw(replaced, LATER), "y", now=LATER + 0.1)[1] == []


def test_a_question_that_is_loading_is_not_answered(
    session: Make, agent_request: Make, snapshot: Make, press: Press, draw: Change
) -> None:
    web = session("web", asks=[agent_request("1-1", "Build", 10.0)])
    state = apply_snapshot(State(), snapshot(web, session("quiet")), NOW)
    assert wanted_question(state) == ("web", "1-1")
    assert wanted_question(press(state, "j")[0]) is None
    state = draw(press(state, "a")[0])
    assert "loading" in screen_lines(render_screen(state, NOW, 80, 24))
    after, effects = press(state, "y", now=NOW + 9)
    assert effects == [] and "wait until you see" in notice_text(after)
    failed = apply_fetch_error(state, ("web", "1-1"), "not today")
    assert "not today" in screen_lines(render_screen(failed, NOW, 80, 24))
    assert wanted_question(failed) == ("web", "1-1")
    loaded = apply_question(failed, ("web", "1-1"), dict(web["asks"][0]))
    assert wanted_question(loaded) is None
    assert press(loaded, "y", now=NOW + 9)[1] == []
    assert len(press(draw(loaded, NOW + 9), "y", now=NOW + 10)[1]) == 1
    assert apply_question(state, ("web", "7-7"), {}) is state


def test_a_broker_that_is_gone_is_not_answered_and_is_asked_again(
    two: State, press: Press, draw: Change
) -> None:
    state = draw(press(two, "a")[0])
    gone = mark_disconnected(state, "it died", LATER)
    assert gone.mode is Mode.TABLE and wanted_question(gone) is None
    for key in ("a", "v", "y", "1"):
        after, effects = press(gone, key, now=LATER)
        assert effects == [] and after.mode is Mode.TABLE
    assert two.snapshot is not None
    back = apply_snapshot(gone, two.snapshot, LATER + 1)
    assert wanted_question(back) == ("web", "1-1")


def test_an_answer_that_is_refused_brings_the_question_back(
    two: State, session: Make, snapshot: Make, press: Press, draw: Change
) -> None:
    state, (call,) = press(draw(press(two, "a")[0]), "y", now=LATER)
    assert isinstance(call, BrokerCall) and call.on_error is not None
    assert [request["askId"] for _, request in state.requests()] == ["2-1"]
    refused = call.on_error(state, LATER)
    assert refused.selected_request == ("web", "1-1") and refused.mode is Mode.TABLE
    elsewhere, _ = press(state, "a")
    assert elsewhere.selected_request == ("api", "2-1")
    kept = call.on_error(elsewhere, LATER)
    assert kept.selected_request == ("api", "2-1") and kept.mode is Mode.QUESTION
    settled = apply_snapshot(state, snapshot(session("web"), two.sessions[1]), LATER)
    assert settled.answered == frozenset()


def test_who_observes_does_not_answer(two: State, press: Press, draw: Change) -> None:
    state = draw(press(attrs.evolve(two, roles={"web": "observer"}), "a")[0])
    after, effects = press(state, "y", now=LATER)
    assert effects == [] and "press r" in notice_text(after)


def test_other_keys_do_nothing_and_escape_gives_them_back(two: State, press: Press) -> None:
    state, _ = press(two, "a")
    for key in ("x", "p", "X", "K", "c", "0", "9", "enter", "tab", "paste"):
        after, effects = press(state, key)
        assert effects == [] and after.mode is Mode.QUESTION and "Esc goes back" in notice_text(after)
    for key in ("esc", "q", "ctrl-c"):
        after, effects = press(state, key)
        assert effects == [] and after.mode is Mode.TABLE and after.focus is None


def test_a_long_question_is_scrolled_and_opened_in_full(
    two: State, press: Press, draw: Change, load: Change
) -> None:
    new = "".join(f"line {number:03}\n" for number in range(100))
    two = load(two, toolCall=make_diff("long.txt", "", new))

    def text(state: State) -> str:
        return screen_lines(render_screen(state, NOW, 80, 24))

    state = draw(press(two, "a")[0])
    assert (
        "+line 000" in text(state)
        and "+line 012" not in text(state)
        and "n  3  reject once    Leave" in text(state)
    )
    state = draw(press(state, *["j"] * 5)[0])
    assert "+line 000" not in text(state) and "+line 012" in text(state)
    full = draw(press(two, "v")[0])
    assert (
        "+line 012" in text(full) and "n  3  reject once    Leave" in text(full) and "quiet" not in text(full)
    )
    end = draw(press(full, "end")[0])
    assert "+line 099" in text(end)
    assert text(draw(press(end, "k", "down")[0])) == text(end), "it was not scrolled beyond its end"
    assert "+line 000" in text(press(end, "home")[0])
    assert "quiet" in text(press(full, "v")[0])
    assert len(press(end, "y", now=LATER)[1]) == 1


# Whatever happens in whatever order

KEYS = ("a", "a", "a", "y", "y", "1", "2", "n", "A", "j", "k", "v", "esc", "?", "pagedown", "p")
SIZES = ((80, 24), (120, 40), (40, 10), (40, 8), (30, 5))
REQUESTS = [("web", "1-1"), ("web", "1-2"), ("api", "2-1"), ("api", "2-2"), ("db", "3-1")]
KEY = st.tuples(st.just("key"), st.sampled_from(KEYS))
LOOK = st.tuples(st.just("look"), st.tuples(st.sampled_from(SIZES), st.sampled_from([0.05, 0.45, 0.6])))
STEP = st.one_of(
    *(KEY, LOOK) * 4,
    st.tuples(st.just("snapshot"), st.sets(st.sampled_from(REQUESTS), min_size=2)),
    st.tuples(st.just("fetch"), st.none()),
    st.tuples(st.just("draw"), st.sampled_from(SIZES)),
    st.tuples(st.just("gone"), st.none()),
)


def marker(id: str) -> str:
    """What stands in the text of one question only, and not in the snapshot."""
    return f"rm-{id}-of-all"


def picture(is_open: set[tuple[str, str]]) -> Json:
    sessions = []
    for key in ("web", "api", "db", "quiet"):
        ids = [id for session, id in REQUESTS if session == key and (session, id) in is_open]
        options = [
            {"optionId": f"{name} {key}", "name": name, "kind": name}
            for name in ("allow_once", "allow_always", "reject_once")
        ]
        asks = [make_request(id, "Run it", float(id[-1])) | {"options": options} for id in ids]
        sessions.append(make_session(key, phase="waiting" if ids else "idle", asks=asks))
    return make_snapshot(*sessions)


@given(st.lists(STEP, min_size=10, max_size=60))
def test_what_is_answered_was_on_the_screen(steps: list[tuple[str, Any]]) -> None:
    """The call names the question whose text, and no other's, has been on the screen for the whole of the delay."""
    dashboard = Dashboard()
    for what, value in [("key", "a"), ("look", (SIZES[0], 0.6)), *steps]:
        dashboard.step(what, value)


@attrs.define(eq=False)
class Dashboard:
    """A state, the clock, and all frames that were on the screen."""

    now: float = NOW
    state: State = attrs.field(factory=lambda: apply_snapshot(State(), picture(set(REQUESTS)), NOW))
    frames: list[tuple[float, str]] = attrs.field(factory=lambda: [(0.0, "")])

    def step(self, what: str, value: Any) -> None:
        self.now += 0.001
        if what == "snapshot":
            self.state = apply_snapshot(self.state, picture(value), self.now)
        elif what == "gone":
            self.state = mark_disconnected(self.state, "it died", self.now)
        elif what == "fetch":
            self.fetch()
        elif what == "draw":
            self.draw(*value)
        elif what == "look":
            self.fetch()
            self.draw(*value[0])
            self.now += value[1]
        else:
            self.press(value)

    def fetch(self) -> None:
        if (wanted := wanted_question(self.state)) is not None:
            request = next(one for _, one in self.state.requests() if one["askId"] == wanted[1])
            call = {"toolCallId": "c", "rawInput": {"command": marker(wanted[1])}}
            self.state = apply_question(self.state, wanted, request | {"toolCall": call})

    def draw(self, width: int, height: int) -> None:
        shown = render_screen(self.state, self.now, width, height)
        self.frames.append((self.now, screen_lines(shown)))
        self.state = apply_drawn(self.state, shown.question, self.now)

    def press(self, key: str) -> None:
        self.state, effects = handle_key(self.state, Key(key, key if len(key) == 1 else ""), self.now)
        calls = [one for one in effects if isinstance(one, BrokerCall)]
        for params in (call.params for call in calls if call.method == "_trio_broker/answer"):
            event("a key answers")
            first = max(at for at, _ in self.frames if at <= self.now - ANSWER_DELAY)
            seen = [text for at, text in self.frames if at >= first]
            assert all(marker(params["askId"]) in text for text in seen)
            others = [marker(id) for _, id in REQUESTS if id != params["askId"]]
            assert not any(other in text for text in seen for other in others)
            assert params["optionId"].split()[1] == {id: session for session, id in REQUESTS}[params["askId"]]


def test_a_small_window_is_enough() -> None:
    """The steps above do lead to answers."""
    state = apply_snapshot(State(), picture({("api", "2-1")}), NOW)
    for key in ("j", "a"):
        state, _ = handle_key(state, Key(key, key), NOW)
    assert wanted_question(state) == ("api", "2-1")
    state = apply_question(state, ("api", "2-1"), dict(state.requests()[0][1]))
    state = apply_drawn(state, render_screen(state, NOW, 40, 8).question, NOW)
    _, effects = handle_key(state, Key("y", "y"), LATER)
    assert answers(effects) == [{"askId": "2-1", "optionId": "allow_once api"}]


FORM = {"mode": "form", "message": "Who?", "requestedSchema": {"properties": {"name": {"type": "string"}}}}


def form_state(*ids: str) -> State:
    """A form with the focus, on the screen for a second."""
    facts = {"method": "elicitation/create", "mode": "form", "options": []}
    sessions = [
        make_session(f"s{id}", phase="waiting", asks=[make_request(id, "Who?", 88.0) | facts]) for id in ids
    ]
    state = load_questions(apply_snapshot(State(), make_snapshot(*sessions), 100.0), elicitation=FORM)
    return draw_frame(press_keys(state, "a", now=100.0)[0], 100.0)


def test_a_form_opens_after_the_guard_and_its_values_are_sent_after_another() -> None:
    early, _ = press_keys(form_state("1"), "y", now=100.4)
    assert early.focus is not None and early.focus.form is None
    state, calls = press_keys(form_state("1"), "y", "A", "enter", "y", now=101.0)
    assert calls == [] and state.focus is not None and state.focus.form is not None
    assert state.focus.form.content == {"name": "A"}
    state = draw_frame(state, 101.0)
    assert press_keys(state, "y", now=101.4)[1] == []
    after, [call] = press_keys(state, "y", now=101.6)
    assert isinstance(call, BrokerCall) and call.method == "_trio_broker/answer"
    assert call.params == {"askId": "1", "answer": "allow", "content": {"name": "A"}}
    assert after.mode is Mode.TABLE and after.focus is None


@pytest.mark.parametrize("keys", [["esc"], ["x", "enter", "esc"], ["x", "enter", "n"]])
def test_a_form_that_is_left_sends_nothing(keys: list[str]) -> None:
    state, calls = press_keys(form_state("1"), "y", *keys, now=101.0)
    assert calls == [] and state.mode is Mode.QUESTION
    assert state.focus is not None and state.focus.form is None


@pytest.mark.parametrize("what", ["settled", "gone", "replaced", "no broker"])
@pytest.mark.parametrize("keys", [["x"], ["x", "enter"]])
def test_the_values_of_a_form_never_answer_another_question(what: str, keys: list[str]) -> None:
    state = draw_frame(press_keys(form_state("1", "2"), "y", *keys, now=101.0)[0], 101.0)
    other = state.snapshot["sessions"][1] if state.snapshot else {}
    if what == "settled":
        state = apply_snapshot(state, make_snapshot(make_session("s1"), other), 102.0)
    elif what == "gone":
        state = apply_snapshot(state, make_snapshot(other), 102.0)
    elif what == "no broker":
        state = mark_disconnected(state, "gone", 102.0)
    else:
        state = load_questions(state, elicitation=FORM)
        state, _ = press_keys(state, "y", now=103.0)
    assert state.mode is Mode.TABLE and state.focus is None
    assert state.notice is not None and "the form was not sent" in state.notice[0]
    assert press_keys(state, "y", "enter", "y", now=104.0)[1] == []
