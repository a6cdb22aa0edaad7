"""When keys answer a question, and which: the focus, the answers, and what the screen and the broker report about it.

A key answers only the question that has the focus, and only when its text and its choices have been on the screen for
`ANSWER_DELAY`. That time starts when a frame has been written, not when the state changes: a terminal can be slow.
Whatever replaces the question (another selection, a settled request, another fetch) starts it again, or ends the focus.
"""

from __future__ import annotations

import attrs

from trio_broker.protocol.extensions import METHOD_PREFIX
from trio_broker.tui.input import Key
from trio_broker.tui.question.form import FormInput
from trio_broker.tui.question.model import AnswerChoice, Focus, Json, Question, RequestKey, request_key
from trio_broker.tui.state import (
    OBSERVES,
    BrokerCall,
    Effect,
    Mode,
    State,
    leave_question,
    select_request,
    select_session,
    show_notice,
)
from trio_broker.tui.text import visible

Outcome = tuple[State, list[Effect]]

ANSWER_DELAY = 0.5  # seconds a question must have been on the screen before a key answers it
PAGE = 10  # lines
ALL = 10**6  # lines: more than there are
SCROLLS = {
    "up": -1, "k": -1, "down": 1, "j": 1, "pageup": -PAGE, "pagedown": PAGE, "home": -ALL, "end": ALL,
}  # fmt: skip


@attrs.frozen
class DrawnQuestion:
    """What a frame shows of a question.

    `answerable`: it has the focus, and its text and all its choices are there. `lacks_room`: the window is too small.
    `form`: the complete form whose values are there.
    """

    question: Question | None
    max_scroll: int = 0
    answerable: bool = False
    lacks_room: bool = False
    form: FormInput | None = None


def apply_drawn(state: State, drawn: DrawnQuestion | None, now: float) -> State:
    """The state after a frame has been written to the terminal; the state can have gone on since it was rendered."""
    focus = state.focus
    if focus is None:
        return state
    shown = drawn.question if drawn is not None and drawn.answerable else None
    form = drawn.form if drawn is not None and drawn.answerable else None
    if shown is not focus.drawn or form is not focus.drawn_form:
        focus = attrs.evolve(focus, drawn=shown, drawn_form=form, drawn_at=now, confirming=None)
    if drawn is not None and drawn.question is not None:
        scroll = min(focus.scroll, drawn.max_scroll)
        focus = attrs.evolve(focus, scroll=scroll, lacks_room=drawn.lacks_room)
    return state if focus == state.focus else attrs.evolve(state, focus=focus)


def forget_drawn(state: State) -> State:
    """The state when another program has the terminal: nothing of ours is on the screen."""
    return (
        state
        if state.focus is None
        else attrs.evolve(state, focus=attrs.evolve(state.focus, drawn=None, drawn_form=None))
    )


def wanted_question(state: State) -> RequestKey | None:
    """The request that has to be fetched: the one that is shown, if its tool call is not here yet."""
    if state.disconnected is not None or state.current_request() is None or state.question() is not None:
        return None
    return state.selected_request


def apply_question(state: State, key: RequestKey, ask: Json) -> State:
    """The broker has given a request with its tool call."""
    request = next(
        (request for session, request in state.requests() if request_key(session, request) == key), None
    )
    if request is None:
        return state
    questions = {**state.questions, key: Question({**request, **ask})}
    return attrs.evolve(state, questions=questions, fetch_error=None)


def apply_fetch_error(state: State, key: RequestKey, why: str) -> State:
    """A request could not be fetched; it is tried again."""
    return attrs.evolve(state, fetch_error=(key, why))


def go_to_question(state: State, now: float) -> Outcome:
    """Give the focus to the question of the selected session; if it has it, or there is none, to the next one."""
    keys = [request_key(*one) for one in state.requests()]
    if not keys:
        return show_notice(state, "no question waits", now), []
    here, target = state.selected_request, state.selected_request
    if state.current_request() is None or target is None:
        target = keys[0]
    elif state.mode is Mode.QUESTION:
        target = keys[(keys.index(target) + 1) % len(keys)]
    if all(session["key"] != target[0] for session in state.visible_sessions()):
        state = attrs.evolve(state, filter="")
    state = attrs.evolve(select_session(state, target[0]), selected_request=target)
    alone = state.mode is Mode.QUESTION and target == here
    state = attrs.evolve(state, mode=Mode.QUESTION, focus=Focus(), notice=None)
    return show_notice(state, "no other question waits", now) if alone else state, []


def open_question(state: State, now: float) -> Outcome:
    """Give the question of the selected session the focus, and the whole screen."""
    if state.current_request() is None:
        return refuse_answer(state, now)
    return attrs.evolve(state, mode=Mode.QUESTION, focus=Focus(full=True), notice=None), []


def refuse_answer(state: State, now: float) -> Outcome:
    """An answer key without the focus: say which key gives it."""
    if state.current_request() is not None:
        text = "press a first: keys answer only while the question has the focus"
    elif state.requests():
        text = "this session asks nothing; a goes to the next question"
    else:
        text = "no question waits"
    return show_notice(state, text, now), []


def handle_question_key(state: State, key: Key, now: float) -> Outcome:
    """A key while a question has the focus."""
    focus = state.focus
    if focus is None:
        return leave_question(state), []
    if focus.confirming is not None:
        return _handle_second_key(state, focus, focus.confirming, key, now)
    if focus.form is not None:
        return _handle_form_key(state, focus, focus.form, key, now)
    if key.name in ("esc", "q"):
        return leave_question(state), []
    if key.name == "a":
        return go_to_question(state, now)
    if key.name == "v":
        return attrs.evolve(state, focus=attrs.evolve(focus, full=not focus.full), notice=None), []
    if key.name == "?":
        return attrs.evolve(leave_question(state), mode=Mode.HELP), []
    if (lines := SCROLLS.get(key.name)) is not None:
        return attrs.evolve(state, focus=attrs.evolve(focus, scroll=max(0, focus.scroll + lines))), []
    return _choose(state, focus, key.name, now)


def _choose(state: State, focus: Focus, key: str, now: float) -> Outcome:
    question = state.question()
    if question is None:
        return show_notice(state, "wait until you see what it asks", now), []
    chosen = question.choice(key)
    if chosen is None:
        what = f"{key} is none of its answers" if key.isdigit() else "that key does nothing here"
        return show_notice(state, f"{what}; Esc goes back to the sessions", now, error=True), []
    if state.roles.get(str(state.selected)) == "observer":
        return show_notice(state, OBSERVES, now, error=True), []
    if focus.lacks_room:
        return show_notice(state, "there is no room to show what it asks: make the window larger", now), []
    if focus.drawn is not question or now - focus.drawn_at < ANSWER_DELAY:
        text = "this question has only just come: look at it, and press the key again"
        return show_notice(state, text, now), []
    if chosen.fills_in:
        form = FormInput.of(question.ask["elicitation"].get("requestedSchema"))
        focus = attrs.evolve(focus, form=form, form_question=question, scroll=0)
        return attrs.evolve(state, focus=focus, notice=None), []
    if chosen.needs_confirmation:
        return attrs.evolve(state, focus=attrs.evolve(focus, confirming=chosen), notice=None), []
    return _answer(state, question, chosen)


def _handle_second_key(state: State, focus: Focus, chosen: AnswerChoice, key: Key, now: float) -> Outcome:
    question = state.question()
    if question is not None and question.choice(key.name) == chosen:
        return state, []
    state = attrs.evolve(state, focus=attrs.evolve(focus, confirming=None))
    if key.name not in ("y", "Y"):
        return show_notice(state, "nothing was answered", now), []
    if question is None or focus.drawn is not question:
        return show_notice(state, "the question has changed: look at it again", now), []
    return _answer(state, question, chosen)


def _handle_form_key(state: State, focus: Focus, form: FormInput, key: Key, now: float) -> Outcome:
    """A key while a form is filled in. Nothing is sent before the yes to all values."""
    question = state.question()
    if question is None or question is not focus.form_question:
        return show_notice(leave_question(state), "the question has changed: the form was not sent", now), []
    if key.name == "esc" or (form.field is None and key.name in ("n", "N", "q")):
        focus = attrs.evolve(focus, form=None, form_question=None, scroll=0)
        return show_notice(attrs.evolve(state, focus=focus), "nothing was answered", now), []
    if form.field is None and key.name in ("y", "Y"):
        return _send_form(state, question, focus, form, now)
    if (
        key.name in SCROLLS
        and (form.field is None or key.name in ("pageup", "pagedown"))
        and key.name != "up"
    ):
        scroll = max(0, focus.scroll + SCROLLS[key.name])
        return attrs.evolve(state, focus=attrs.evolve(focus, scroll=scroll)), []
    after = form.handle_key(key)
    scroll = focus.scroll if after.index == form.index else 0
    return attrs.evolve(state, focus=attrs.evolve(focus, form=after, scroll=scroll), notice=None), []


def _send_form(state: State, question: Question, focus: Focus, form: FormInput, now: float) -> Outcome:
    if focus.lacks_room:
        return show_notice(state, "there is no room to show the values: make the window larger", now), []
    if focus.drawn_form is not form or now - focus.drawn_at < ANSWER_DELAY:
        return show_notice(state, "look at the values, and press the key again", now), []
    params = {"answer": "allow", "content": form.content}
    return _answer(state, question, AnswerChoice("the form is sent", "allow_once", params))


def _answer(state: State, question: Question, chosen: AnswerChoice) -> Outcome:
    """The call, and the state without the question: the next key is never for another one."""
    key = state.selected_request
    assert key is not None, "a question is one of a request"

    def bring_back(current: State, now: float) -> State:
        current = attrs.evolve(current, answered=current.answered - {key})
        return current if current.current_request() is not None else select_request(current)

    done = f"{visible(key[0])}: {visible(chosen.name)}"
    params = {"askId": question.ask["askId"], **chosen.params}
    call = BrokerCall(f"{METHOD_PREFIX}answer", params, done, on_error=bring_back)
    state = attrs.evolve(leave_question(state), answered=state.answered | {key}, notice=None)
    return select_request(state), [call]
