"""What keys do to the sessions: a state in, a state and the calls to be made out. Whatever is dangerous asks first."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import attrs

from trio_broker.tui.input import Editor
from trio_broker.tui.state import (
    ANSWER_DELAY,
    BrokerCall,
    Confirmation,
    Effect,
    Json,
    Mode,
    State,
    Tab,
    answer_choices,
    request_key,
    select,
    show_notice,
)
from trio_broker.tui.text import format_duration, visible
from trio_broker.wire import OURS

Outcome = tuple[State, list[Effect]]
ROLES = ("", "observer", "controller")
ROLE_NOTICES = {
    "": "{}: left to itself",
    "observer": "{}: you observe, your keys do nothing to it",
    "controller": "{}: you take part, it asks you and is not suspended",
}


def confirm(state: State, text: str, call: BrokerCall) -> Outcome:
    return attrs.evolve(state, mode=Mode.CONFIRM, confirmation=Confirmation(text, call)), []


def action_blocked(state: State, now: float) -> State | None:
    """What a key that acts on the selected session comes to where there is none, or it is only observed."""
    if state.session is None:
        return show_notice(state, "there is no session: press n for a new one", now)
    if state.roles.get(state.session["key"]) == "observer":
        return show_notice(state, "you only observe this session: press r to take part", now, error=True)
    return None


# Questions


def select_next_request(state: State, now: float) -> Outcome:
    requests = [request_key(*one) for one in state.requests()]
    if not requests:
        return show_notice(state, "nobody asks anything", now), []
    place = requests.index(state.selected_request) if state.selected_request in requests else -1
    request = requests[(place + 1) % len(requests)]
    return select(attrs.evolve(state, selected_request=request, request_selected_at=now), request[0]), []


def answer_request(state: State, number: int, now: float) -> Outcome:
    """Answer the question on top; one that has only just come there is not answered by mistake."""
    current_request = state.current_request()
    if current_request is None:
        return show_notice(state, "nobody asks anything", now), []
    session, request = current_request
    choices = answer_choices(request)
    if not 1 <= number <= len(choices):
        return show_notice(state, f"{number} is none of its answers", now, error=True), []
    if now - state.request_selected_at < ANSWER_DELAY:
        return show_notice(
            state, "this question has only just come: look at it, and press the key again", now
        ), []
    chosen = choices[number - 1]
    done = f"{visible(session['key'])}: {visible(chosen.name)}"
    return state, [BrokerCall(f"{OURS}answer", {"askId": request["askId"], **chosen.params}, done)]


# The session


def cancel_turn(state: State, now: float) -> Outcome:
    if (instead := action_blocked(state, now)) is not None:
        return instead, []
    session = _selected_session(state)
    if session["turn_since"] is None:
        return show_notice(state, "no turn runs in this session", now), []
    key, runs = session["key"], format_duration(state.broker_time(now) - session["turn_since"])
    call = BrokerCall(
        f"{OURS}cancel", {"key": key, "promptId": session["turn_id"]}, on_result=_report_cancelled
    )
    return confirm(state, f"cancel the turn of {key}, which has run for {runs}?", call)


def _report_cancelled(state: State, result: Json, now: float) -> State:
    ended = result.get("cancelled") == "nothing"
    return show_notice(state, "that turn has ended already" if ended else "its agent is told to cancel", now)


def end_session(method: str, text: str, done: str) -> Callable[[State, float], Outcome]:
    """Kill or close: asked first."""

    def end(state: State, now: float) -> Outcome:
        if (instead := action_blocked(state, now)) is not None:
            return instead, []
        key = _selected_session(state)["key"]
        return confirm(
            state, text.format(key), BrokerCall(f"{OURS}{method}", {"key": key}, f"{visible(key)}: {done}")
        )

    return end


def restart_agent(state: State, now: float) -> Outcome:
    if (instead := action_blocked(state, now)) is not None:
        return instead, []
    key = _selected_session(state)["key"]
    text = f"restart the agent of {key}? A turn that runs fails; what is queued runs after it."
    return confirm(state, text, BrokerCall(f"{OURS}restart", {"key": key}, on_result=_report_restarted))


RESUME_TEXTS = {
    "exact": "the conversation goes on where it was",
    "loaded": "the conversation was loaded again",
    "new": "the agent does not remember the conversation",
}


def _report_restarted(state: State, result: Json, now: float) -> State:
    how = RESUME_TEXTS.get(str(result.get("resumed")), "")
    return show_notice(
        state, f"{visible(result['key'])}: restarted, pid {result['pid']}{'; ' if how else ''}{how}", now
    )


def switch_role(state: State, now: float) -> Outcome:
    """From hearing nothing of the selected session to observing it, to taking part in it, and back."""
    session = state.session
    if session is None:
        return state, []
    key = session["key"]
    role = ROLES[(ROLES.index(state.roles.get(key, "")) + 1) % len(ROLES)]
    return state, [attach(key, role)]


def attach(key: str, role: str) -> BrokerCall:
    """Be attached to a session in that role; "" is not at all."""
    params = {"key": key, "role": role} if role else {"key": key}
    return BrokerCall(
        f"{OURS}{'attach' if role else 'detach'}", params, on_result=partial(_set_role, key, role)
    )


def _set_role(key: str, role: str, state: State, result: Json, now: float) -> State:
    roles = {name: one for name, one in state.roles.items() if name != key} | ({key: role} if role else {})
    return show_notice(attrs.evolve(state, roles=roles), ROLE_NOTICES[role].format(visible(key)), now)


# Its queue


def _selected_prompt(state: State, now: float) -> State | tuple[Json, Json]:
    """The queued prompt that is chosen, with its session; where none is, a state that says so."""
    if (instead := action_blocked(state, now)) is not None:
        return instead
    session = _selected_session(state)
    if state.tab is not Tab.QUEUE or not session["queued"]:
        return show_notice(state, "choose a queued prompt first: Tab to the queue", now)
    return session, session["queued"][state.queue_index]


def drop_prompt(state: State, now: float) -> Outcome:
    chosen = _selected_prompt(state, now)
    if isinstance(chosen, State):
        return chosen, []
    session, turn = chosen
    # Not by cancel: that would hit the prompt when it has begun to run by the time of the yes.
    params = {"key": session["key"], "promptId": turn["promptId"], "remove": True}
    call = BrokerCall(f"{OURS}queue_edit", params, "dropped from the queue")
    return confirm(state, f"drop “{turn['text'][:60]}” from the queue?", call)


def move_prompt(steps: int) -> Callable[[State, float], Outcome]:
    """Have the chosen prompt run so many places later."""

    def move(state: State, now: float) -> Outcome:
        chosen = _selected_prompt(state, now)
        if isinstance(chosen, State):
            return chosen, []
        session, turn = chosen
        place = state.queue_index + steps
        if not 0 <= place < len(session["queued"]):
            return show_notice(state, "it is the last" if steps > 0 else "it is the next to run", now), []
        params = {"key": session["key"], "promptId": turn["promptId"], "position": place + 1}
        return attrs.evolve(state, selected_prompt=turn["promptId"]), [
            BrokerCall(f"{OURS}queue_edit", params)
        ]

    return move


def edit_prompt(state: State, now: float) -> Outcome:
    """Ask for the whole of the chosen prompt: the snapshot has only its beginning."""
    chosen = _selected_prompt(state, now)
    if isinstance(chosen, State):
        return chosen, []
    session, turn = chosen
    params = {"key": session["key"], "promptId": turn["promptId"]}
    return state, [BrokerCall(f"{OURS}queue", params, on_result=partial(_start_editing, session["key"]))]


def _start_editing(key: str, state: State, turn: Json, now: float) -> State:
    if state.selected != key or state.mode is not Mode.TABLE:
        return state  # the person is elsewhere by now
    blocks = turn["prompt"]
    if any(block.get("type") != "text" for block in blocks):
        return show_notice(state, "it has more than text in it: drop it, and prompt anew", now, error=True)
    text = "\n".join(str(block["text"]) for block in blocks)
    return attrs.evolve(
        state, mode=Mode.EDIT, edited_prompt=turn["promptId"], editor=Editor.with_text(text), notice=None
    )


def _selected_session(state: State) -> dict[str, Any]:
    assert state.session is not None, "action_blocked() has said that there is one"
    return state.session
