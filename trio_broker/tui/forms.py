"""What keys do while something is typed: a filter, a prompt, a queued prompt anew, the form for a new session."""

from __future__ import annotations

import os.path
from collections.abc import Callable
from functools import partial

import attrs

from trio_broker.tui.deeds import Outcome, action_blocked, confirm
from trio_broker.tui.input import Editor, Key
from trio_broker.tui.state import BrokerCall, Json, Mode, State, select, show_notice, update_selection
from trio_broker.tui.text import visible
from trio_broker.wire import OURS


def leave_input(state: State) -> State:
    """At the table again, and nothing typed."""
    return attrs.evolve(
        state, mode=Mode.TABLE, editor=Editor(), form=(), confirmation=None, edited_prompt=None
    )


def start_input(mode: Mode) -> Callable[[State, float], Outcome]:
    """Filter, prompt or interrupt."""

    def start(state: State, now: float) -> Outcome:
        if mode is Mode.FILTER:
            return attrs.evolve(state, mode=mode, editor=Editor.with_text(state.filter), notice=None), []
        if (instead := action_blocked(state, now)) is not None:
            return instead, []
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


def handle_filter_key(state: State, key: Key, now: float) -> Outcome:
    if key.name == "enter":
        return leave_input(state), []
    if key.name == "esc":
        return update_selection(leave_input(attrs.evolve(state, filter="")), now), []
    editor = state.editor.handle_key(key)
    text = " ".join(editor.text.split("\n"))
    return update_selection(attrs.evolve(state, editor=editor, filter=text), now), []


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
    detach = None if state.selected in state.roles else BrokerCall(f"{OURS}detach", which)
    return BrokerCall(f"{OURS}submit", prompt, f"{visible(state.selected)}: {done}", detach)


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
    return after, [BrokerCall(f"{OURS}queue_edit", params, "it stands in the queue as you wrote it")]


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
    detach = BrokerCall(f"{OURS}detach", {"key": session_key})
    state = show_notice(
        attrs.evolve(leave_input(state), submitted_form=form), f"{visible(session_key)}: starting …", now
    )
    select_new_session = partial(_select_new_session, session_key, state.selected)
    return state, [
        BrokerCall(f"{OURS}open", params, f"{visible(session_key)}: is here", detach, select_new_session)
    ]


def _check_agent_call(state: State) -> BrokerCall:
    """Have the broker look whether there is that agent, and whether sessions of it may be opened from here."""

    def ask_agent_again(current: State, now: float) -> State:
        if (current.mode, current.form, current.editor) != (state.mode, state.form, state.editor):
            return current  # the person is further, or elsewhere: being told will do
        return attrs.evolve(current, form=(), editor=Editor.with_text(state.form[0]))

    return BrokerCall(f"{OURS}bind", {"agent": state.form[0]}, on_error=ask_agent_again)


def _select_new_session(key: str, before: str | None, state: State, result: Json, now: float) -> State:
    """The new session is looked at, unless the person has gone on to something else meanwhile."""
    state = attrs.evolve(state, submitted_form=())
    found = any(session["key"] == key for session in state.visible_sessions())
    return select(state, key) if found and (state.mode, state.selected) == (Mode.TABLE, before) else state
