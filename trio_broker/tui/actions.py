"""Actions on sessions: each takes a state and returns one, with the calls that the broker is to receive.

An action that can lose work asks for confirmation first. The second half handles keys while a text for the broker is
typed: a prompt, a queued prompt that is edited, the form for a new session.
"""

from __future__ import annotations

import os.path
from collections.abc import Callable
from functools import partial
from typing import Any

import attrs

from trio_broker.protocol.extensions import METHOD_PREFIX
from trio_broker.tui.input import Editor, Key
from trio_broker.tui.state import (
    OBSERVES,
    BrokerCall,
    Confirmation,
    Effect,
    Json,
    Mode,
    State,
    Tab,
    select_session,
    show_notice,
)
from trio_broker.tui.text import format_duration, visible

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
    """The state with a notice, if there is no session to act on, or it is only observed; None if there is one."""
    if state.session is None:
        return show_notice(state, "there is no session: press n for a new one", now)
    if state.roles.get(state.session["key"]) == "observer":
        return show_notice(state, OBSERVES, now, error=True)
    return None


# The session


def cancel_turn(state: State, now: float) -> Outcome:
    if (blocked := action_blocked(state, now)) is not None:
        return blocked, []
    session = _selected_session(state)
    if session["turn_since"] is None:
        return show_notice(state, "no turn runs in this session", now), []
    key, runs = session["key"], format_duration(state.broker_time(now) - session["turn_since"])
    call = BrokerCall(
        f"{METHOD_PREFIX}cancel", {"key": key, "promptId": session["turn_id"]}, on_result=_report_cancelled
    )
    return confirm(state, f"cancel the turn of {key}, which has run for {runs}?", call)


def _report_cancelled(state: State, result: Json, now: float) -> State:
    ended = result.get("cancelled") == "nothing"
    return show_notice(state, "that turn has ended already" if ended else "its agent is told to cancel", now)


def end_session(method: str, text: str, done: str) -> Callable[[State, float], Outcome]:
    """Kill or close: asked first."""

    def end(state: State, now: float) -> Outcome:
        if (blocked := action_blocked(state, now)) is not None:
            return blocked, []
        key = _selected_session(state)["key"]
        return confirm(
            state,
            text.format(key),
            BrokerCall(f"{METHOD_PREFIX}{method}", {"key": key}, f"{visible(key)}: {done}"),
        )

    return end


def restart_agent(state: State, now: float) -> Outcome:
    if (blocked := action_blocked(state, now)) is not None:
        return blocked, []
    key = _selected_session(state)["key"]
    text = f"restart the agent of {key}? A turn that runs fails; what is queued runs after it."
    return confirm(
        state, text, BrokerCall(f"{METHOD_PREFIX}restart", {"key": key}, on_result=_report_restarted)
    )


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
        f"{METHOD_PREFIX}{'attach' if role else 'detach'}", params, on_result=partial(_set_role, key, role)
    )


def _set_role(key: str, role: str, state: State, result: Json, now: float) -> State:
    roles = {name: one for name, one in state.roles.items() if name != key} | ({key: role} if role else {})
    return show_notice(attrs.evolve(state, roles=roles), ROLE_NOTICES[role].format(visible(key)), now)


# Its queue


def _selected_prompt(state: State, now: float) -> State | tuple[Json, Json]:
    """The queued prompt that is chosen, with its session; where none is, a state that says so."""
    if (blocked := action_blocked(state, now)) is not None:
        return blocked
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
    call = BrokerCall(f"{METHOD_PREFIX}queue_edit", params, "dropped from the queue")
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
            BrokerCall(f"{METHOD_PREFIX}queue_edit", params)
        ]

    return move


def edit_prompt(state: State, now: float) -> Outcome:
    """Ask for the whole of the chosen prompt: the snapshot has only its beginning."""
    chosen = _selected_prompt(state, now)
    if isinstance(chosen, State):
        return chosen, []
    session, turn = chosen
    params = {"key": session["key"], "promptId": turn["promptId"]}
    return state, [
        BrokerCall(f"{METHOD_PREFIX}queue", params, on_result=partial(_start_editing, session["key"]))
    ]


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


# Text input


def leave_input(state: State) -> State:
    """At the table again: nothing typed, and no question has the focus."""
    return attrs.evolve(
        state, mode=Mode.TABLE, editor=Editor(), form=(), confirmation=None, edited_prompt=None, focus=None
    )


def start_prompt(mode: Mode) -> Callable[[State, float], Outcome]:
    """Prompt or interrupt."""

    def start(state: State, now: float) -> Outcome:
        if (blocked := action_blocked(state, now)) is not None:
            return blocked, []
        return attrs.evolve(
            state, mode=mode, editor=Editor.with_text("", _input_history(state)), notice=None
        ), []

    return start


def _input_history(state: State) -> tuple[str, ...]:
    """What this session was asked before, by whomever, and then what was typed here."""
    items = state.transcript.items if state.transcript is not None else ()
    asked = [item.text for item in items if item.kind == "prompt"]
    return (*dict.fromkeys(text for text in asked if text not in state.history), *state.history)


def start_new_session(state: State, now: float) -> Outcome:
    return attrs.evolve(
        state, mode=Mode.NEW, form=(), editor=Editor.with_text(_default_text(state, ())), notice=None
    ), []


def _default_text(state: State, form: tuple[str, ...]) -> str:
    """What the next line of the form says before anything is typed: as it was sent, if that was refused."""
    session, submitted_form = state.session, state.submitted_form
    if len(form) == 2:
        return (
            submitted_form[2]
            if submitted_form and submitted_form[2] != _default_key(submitted_form)
            else _default_key(form)
        )
    if submitted_form:
        return submitted_form[len(form)]
    return (state.cwd if form else "") if session is None else str(session["cwd" if form else "agent"])


def _default_key(form: tuple[str, ...]) -> str:
    return f"{form[0] or 'agent'}:{form[1]}"


def handle_prompt_key(state: State, key: Key, now: float) -> Outcome:
    after = attrs.evolve(leave_input(state), history=_new_history(state))
    if key.name == "esc":
        return after, []
    if key.name != "enter":
        return attrs.evolve(state, editor=state.editor.handle_key(key)), []
    text = state.editor.text.strip()
    session = state.session
    if not text or session is None:
        return after, []
    if state.mode is Mode.INTERRUPT and session["turn_since"] is not None:
        call = _submit_call(state, text, {"ifBusy": "interrupt"}, "interrupted, and prompted")
        return confirm(after, f"cancel what {session['key']} does, and have it do this?", call)
    return after, [_submit_call(state, text, {}, "prompted")]


def _new_history(state: State) -> tuple[str, ...]:
    """The history with what stands in the editor; what other people asked does not stay in it."""
    return attrs.evolve(state.editor, history=state.history).history_with_text()


def _submit_call(state: State, text: str, more: Json, done: str) -> BrokerCall:
    which = {"key": state.selected}
    prompt = which | {"prompt": [{"type": "text", "text": text}]} | more
    # Whoever submits is attached, and would be asked: it leaves again, unless the person wanted to be there.
    detach = None if state.selected in state.roles else BrokerCall(f"{METHOD_PREFIX}detach", which)
    return BrokerCall(f"{METHOD_PREFIX}submit", prompt, f"{visible(state.selected)}: {done}", detach)


def handle_edit_key(state: State, key: Key, now: float) -> Outcome:
    if key.name == "esc":
        return show_notice(leave_input(state), "it stays as it was", now), []
    if key.name != "enter":
        return attrs.evolve(state, editor=state.editor.handle_key(key)), []
    text = state.editor.text.strip()
    if not text:
        return show_notice(state, "an empty prompt is none; Esc leaves it as it was, x drops it", now), []
    blocks = [{"type": "text", "text": text}]
    params = {"key": state.selected, "promptId": state.edited_prompt, "prompt": blocks}
    after = attrs.evolve(
        leave_input(state), history=_new_history(state)
    )  # it may have begun to run, and be refused
    return after, [BrokerCall(f"{METHOD_PREFIX}queue_edit", params, "it stands in the queue as you wrote it")]


def handle_new_session_key(state: State, key: Key, now: float) -> Outcome:
    if key.name == "esc":
        return show_notice(leave_input(state), "nothing was done", now), []
    if key.name != "enter":
        return attrs.evolve(state, editor=state.editor.handle_key(key)), []
    form = (*state.form, state.editor.text.strip())
    if len(form) < 3:
        state = attrs.evolve(state, form=form, editor=Editor.with_text(_default_text(state, form)))
        return state, [_check_agent_call(state)] if len(form) == 1 and form[0] else []
    agent, cwd, name = form
    session_key = name or f"{agent}:{cwd}"
    params = {"key": session_key, "cwd": os.path.expanduser(cwd)} | ({"agent": agent} if agent else {})
    detach = BrokerCall(f"{METHOD_PREFIX}detach", {"key": session_key})
    state = show_notice(
        attrs.evolve(leave_input(state), submitted_form=form), f"{visible(session_key)}: starting …", now
    )
    select_new_session = partial(_select_new_session, session_key, state.selected)
    return state, [
        BrokerCall(
            f"{METHOD_PREFIX}open", params, f"{visible(session_key)}: is here", detach, select_new_session
        )
    ]


def _check_agent_call(state: State) -> BrokerCall:
    """Have the broker look whether there is that agent, and whether sessions of it may be opened from here."""

    def return_to_agent(current: State, now: float) -> State:
        if (current.mode, current.form, current.editor) != (state.mode, state.form, state.editor):
            return current  # the person is further, or elsewhere: being told will do
        return attrs.evolve(current, form=(), editor=Editor.with_text(state.form[0]))

    return BrokerCall(f"{METHOD_PREFIX}bind", {"agent": state.form[0]}, on_error=return_to_agent)


def _select_new_session(key: str, before: str | None, state: State, result: Json, now: float) -> State:
    """The new session is looked at, unless the person has gone on to something else meanwhile."""
    state = attrs.evolve(state, submitted_form=())
    found = any(session["key"] == key for session in state.visible_sessions())
    return (
        select_session(state, key)
        if found and (state.mode, state.selected) == (Mode.TABLE, before)
        else state
    )
