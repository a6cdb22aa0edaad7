"""What keys do while something is typed: a filter, a prompt, a queued prompt anew, the form for a new session."""

from __future__ import annotations

import os.path
from collections.abc import Callable
from functools import partial

import attrs

from trio_broker.protocol.extensions import OURS
from trio_broker.tui.deeds import Done, ask_first, observed
from trio_broker.tui.editor import Editor
from trio_broker.tui.keys import Key
from trio_broker.tui.state import Call, Json, Mode, State, select, settled, tell
from trio_broker.tui.text import visible


def back(state: State) -> State:
    """At the table again, and nothing typed."""
    return attrs.evolve(state, mode=Mode.TABLE, editor=Editor(), form=(), pending=None, editing=None)


def begin(mode: Mode) -> Callable[[State, float], Done]:
    """Filter, prompt or interrupt."""

    def begin_it(state: State, now: float) -> Done:
        if mode is Mode.FILTER:
            return attrs.evolve(state, mode=mode, editor=Editor.of(state.filter), notice=None), []
        if (instead := observed(state, now)) is not None:
            return instead, []
        return attrs.evolve(state, mode=mode, editor=Editor.of("", _history(state)), notice=None), []

    return begin_it


def _history(state: State) -> tuple[str, ...]:
    """What this session was asked before, by whomever, and then what was typed here."""
    items = state.transcript.items if state.transcript is not None else ()
    asked = [item.text for item in items if item.kind == "prompt"]
    return (*dict.fromkeys(text for text in asked if text not in state.history), *state.history)


def begin_new(state: State, now: float) -> Done:
    return attrs.evolve(state, mode=Mode.NEW, form=(), editor=Editor.of(_offered(state, ())), notice=None), []


def _offered(state: State, form: tuple[str, ...]) -> str:
    """What the next line of the form says before anything is typed: as it was sent, if that was refused."""
    view, draft = state.view, state.draft
    if len(form) == 2:
        return draft[2] if draft and draft[2] != _own_key(draft) else _own_key(form)
    if draft:
        return draft[len(form)]
    return (state.cwd if form else "") if view is None else str(view["cwd" if form else "agent"])


def _own_key(form: tuple[str, ...]) -> str:
    return f"{form[0] or 'agent'}:{form[1]}"


def filtering(state: State, key: Key, now: float) -> Done:
    if key.name == "enter":
        return back(state), []
    if key.name == "esc":
        return settled(back(attrs.evolve(state, filter="")), now), []
    editor = state.editor.typed(key)
    text = " ".join(editor.text.split("\n"))
    return settled(attrs.evolve(state, editor=editor, filter=text), now), []


def prompting(state: State, key: Key, now: float) -> Done:
    left = attrs.evolve(back(state), history=_remembered(state))
    if key.name == "esc":
        return left, []
    if key.name != "enter":
        return attrs.evolve(state, editor=state.editor.typed(key)), []
    text = state.editor.text.strip()
    view = state.view
    if not text or view is None:
        return left, []
    if state.mode is Mode.INTERRUPT and view["turn_since"] is not None:
        call = _submit(state, text, {"ifBusy": "interrupt"}, "interrupted, and prompted")
        return ask_first(left, f"cancel what {view['key']} does, and have it do this?", call)
    return left, [_submit(state, text, {}, "prompted")]


def _remembered(state: State) -> tuple[str, ...]:
    """The history with what stands in the editor; what other people asked does not stay in it."""
    return attrs.evolve(state.editor, history=state.history).remembered()


def _submit(state: State, text: str, more: Json, done: str) -> Call:
    which = {"key": state.selected}
    prompt = which | {"prompt": [{"type": "text", "text": text}]} | more
    # Whoever submits is attached, and would be asked: it leaves again, unless the person wanted to be there.
    leave = None if state.selected in state.roles else Call(f"{OURS}detach", which)
    return Call(f"{OURS}submit", prompt, f"{visible(state.selected)}: {done}", leave)


def editing(state: State, key: Key, now: float) -> Done:
    if key.name == "esc":
        return tell(back(state), "it stays as it was", now), []
    if key.name != "enter":
        return attrs.evolve(state, editor=state.editor.typed(key)), []
    text = state.editor.text.strip()
    if not text:
        return tell(state, "an empty prompt is none; Esc leaves it as it was, x drops it", now), []
    blocks = [{"type": "text", "text": text}]
    params = {"key": state.selected, "promptId": state.editing, "prompt": blocks}
    left = attrs.evolve(back(state), history=_remembered(state))  # it may have begun to run, and be refused
    return left, [Call(f"{OURS}queue_edit", params, "it stands in the queue as you wrote it")]


def making(state: State, key: Key, now: float) -> Done:
    if key.name == "esc":
        return tell(back(state), "nothing was done", now), []
    if key.name != "enter":
        return attrs.evolve(state, editor=state.editor.typed(key)), []
    form = (*state.form, state.editor.text.strip())
    if len(form) < 3:
        state = attrs.evolve(state, form=form, editor=Editor.of(_offered(state, form)))
        return state, [_check_agent(state)] if len(form) == 1 and form[0] else []
    agent, cwd, name = form
    key_of_it = name or f"{agent}:{cwd}"
    asked = {"key": key_of_it, "cwd": os.path.expanduser(cwd)} | ({"agent": agent} if agent else {})
    leave = Call(f"{OURS}detach", {"key": key_of_it})
    state = tell(attrs.evolve(back(state), draft=form), f"{visible(key_of_it)}: starting …", now)
    is_here = partial(_is_here, key_of_it, state.selected)
    return state, [Call(f"{OURS}open", asked, f"{visible(key_of_it)}: is here", leave, is_here)]


def _check_agent(state: State) -> Call:
    """Have the broker look whether there is that agent, and whether sessions of it may be opened from here."""

    def again(now_there: State, now: float) -> State:
        if (now_there.mode, now_there.form, now_there.editor) != (state.mode, state.form, state.editor):
            return now_there  # the person is further, or elsewhere: being told will do
        return attrs.evolve(now_there, form=(), editor=Editor.of(state.form[0]))

    return Call(f"{OURS}bind", {"agent": state.form[0]}, fails=again)


def _is_here(key: str, before: str | None, state: State, result: Json, now: float) -> State:
    """The new session is looked at, unless the person has gone on to something else meanwhile."""
    state = attrs.evolve(state, draft=())
    there = any(view["key"] == key for view in state.rows())
    return select(state, key) if there and (state.mode, state.selected) == (Mode.TABLE, before) else state
