"""What each key does: a state and a key in, a state and what is to be done out."""

from __future__ import annotations

import os.path
from collections.abc import Callable

import attrs

from trio_broker.tui.editor import Editor
from trio_broker.tui.keys import Key
from trio_broker.tui.state import (
    LOOK,
    SORTS,
    Call,
    Command,
    Effect,
    Mode,
    Pending,
    State,
    Tab,
    name_of,
    select,
    settled,
    tell,
)
from trio_broker.tui.text import visible

PAGE = 10  # lines
Done = tuple[State, list[Effect]]
OURS = "_trio_broker/"


def pressed(state: State, key: Key, now: float) -> Done:
    """What a key makes of the state, and what else is to be done."""
    if key.name == "ctrl-l":
        return state, [Command.REDRAW]
    if key.name == "ctrl-z":
        return state, [Command.SUSPEND]
    if key.name == "ctrl-c":
        return (state, [Command.QUIT]) if state.mode is Mode.TABLE else (_back(state), [])
    return _MODES[state.mode](state, key, now)


def _back(state: State) -> State:
    return attrs.evolve(state, mode=Mode.TABLE, editor=Editor(), form=(), pending=None)


def _in_table(state: State, key: Key, now: float) -> Done:
    if key.name.isdigit():
        return _answer(state, int(key.name), now)
    act = _ACTS.get(key.name)
    return (state, []) if act is None else act(state, now)


def _move(steps: int) -> Callable[[State, float], Done]:
    def move(state: State, now: float) -> Done:
        view = state.view
        if state.tab is Tab.QUEUE and state.detail and view is not None and view["queued"]:
            at = max(0, min(state.queue_at + steps, len(view["queued"]) - 1))
            return attrs.evolve(state, queue_at=at), []
        rows = state.rows()
        if not rows:
            return state, []
        place = next((at for at, row in enumerate(rows) if row["key"] == state.selected), 0)
        return select(state, rows[max(0, min(place + steps, len(rows) - 1))]["key"]), []

    return move


def _scroll(lines: int) -> Callable[[State, float], Done]:
    def scroll(state: State, now: float) -> Done:
        up = lines if state.tab in (Tab.TRANSCRIPT, Tab.LOG, Tab.STDERR) else -lines
        return attrs.evolve(state, scroll=max(0, state.scroll + up)), []

    return scroll


def _turn_to(steps: int) -> Callable[[State, float], Done]:
    def turn_to(state: State, now: float) -> Done:
        tabs = list(Tab)
        tab = tabs[(tabs.index(state.tab) + steps) % len(tabs)]
        return attrs.evolve(state, tab=tab, scroll=0), []

    return turn_to


def _enter(state: State, now: float) -> Done:
    return attrs.evolve(state, detail=not state.detail), []


def _escape(state: State, now: float) -> Done:
    if state.scroll:
        return attrs.evolve(state, scroll=0), []
    if state.detail:
        return attrs.evolve(state, detail=False), []
    return settled(attrs.evolve(state, filter="", notice=None), now), []


def _sort(state: State, now: float) -> Done:
    sort = SORTS[(SORTS.index(state.sort) + 1) % len(SORTS)]
    return attrs.evolve(state, sort=sort, reverse=False), []


def _reverse(state: State, now: float) -> Done:
    return attrs.evolve(state, reverse=not state.reverse), []


def _type(mode: Mode) -> Callable[[State, float], Done]:
    def begin(state: State, now: float) -> Done:
        if mode is Mode.PROMPT and state.view is None:
            return tell(state, "there is no session to prompt: press n for a new one", now), []
        text = state.filter if mode is Mode.FILTER else ""
        history = state.history if mode is Mode.PROMPT else ()
        return attrs.evolve(state, mode=mode, editor=Editor.of(text, history), notice=None), []

    return begin


def _new(state: State, now: float) -> Done:
    view = state.view
    agent = Editor.of(str(view["agent"]) if view else "")
    return attrs.evolve(state, mode=Mode.NEW, form=(), editor=agent, notice=None), []


def _help(state: State, now: float) -> Done:
    return attrs.evolve(state, mode=Mode.HELP), []


def _quit(state: State, now: float) -> Done:
    return state, [Command.QUIT]


def _next_question(state: State, now: float) -> Done:
    asks = [name_of(*one) for one in state.asks()]
    if not asks:
        return tell(state, "nobody asks anything", now), []
    place = asks.index(state.ask) if state.ask in asks else -1
    ask = asks[(place + 1) % len(asks)]
    return select(attrs.evolve(state, ask=ask, ask_since=now), ask[0]), []


def _answer(state: State, number: int, now: float) -> Done:
    """Answer the question on top; one that has only just come there is not answered by mistake."""
    asked = state.asked()
    if asked is None:
        return tell(state, "nobody asks anything", now), []
    view, ask = asked
    options = [option for option in ask["options"] if isinstance(option, dict)]
    if not 1 <= number <= len(options):
        return tell(state, f"{number} is none of its answers", now, mishap=True), []
    if now - state.ask_since < LOOK:
        return tell(state, "this question has only just come: look at it, and press the key again", now), []
    option = options[number - 1]
    params = {"key": view["key"], "askId": ask["askId"], "optionId": option.get("optionId")}
    done = f"{visible(view['key'])}: {visible(option.get('name'))}"
    return state, [Call(f"{OURS}answer", params, done)]


def _cancel(state: State, now: float) -> Done:
    view = state.view
    if view is None or view["turn_since"] is None:
        return tell(state, "no turn runs in this session", now), []
    return state, [Call(f"{OURS}cancel", {"key": view["key"]}, f"{visible(view['key'])}: told to cancel")]


def _drop(state: State, now: float) -> Done:
    view = state.view
    if state.tab is not Tab.QUEUE or view is None or not view["queued"]:
        return tell(state, "choose a queued prompt first: Tab to the queue", now), []
    turn = view["queued"][state.queue_at]
    call = Call(f"{OURS}cancel", {"key": view["key"], "promptId": turn["promptId"]}, "dropped from the queue")
    return attrs.evolve(
        state, mode=Mode.CONFIRM, pending=Pending(f"drop “{turn['text'][:60]}” from the queue?", call)
    ), []


def _ending(method: str, text: str, done: str) -> Callable[[State, float], Done]:
    def end(state: State, now: float) -> Done:
        view = state.view
        if view is None:
            return state, []
        key = view["key"]
        call = Call(f"{OURS}{method}", {"key": key}, f"{visible(key)}: {done}")
        return attrs.evolve(state, mode=Mode.CONFIRM, pending=Pending(text.format(key), call)), []

    return end


def _confirming(state: State, key: Key, now: float) -> Done:
    pending = state.pending
    if key.name in ("y", "Y") and pending is not None:
        return _back(state), [pending.call]
    if key.name in ("n", "N", "esc", "q", "enter"):
        return tell(_back(state), "nothing was done", now), []
    return state, []


def _filtering(state: State, key: Key, now: float) -> Done:
    if key.name == "enter":
        return _back(state), []
    if key.name == "esc":
        return settled(_back(attrs.evolve(state, filter="")), now), []
    editor = state.editor.typed(key)
    text = " ".join(editor.text.split("\n"))
    return settled(attrs.evolve(state, editor=editor, filter=text), now), []


def _prompting(state: State, key: Key, now: float) -> Done:
    if key.name == "esc":
        return attrs.evolve(_back(state), history=state.editor.remembered()), []
    if key.name != "enter":
        return attrs.evolve(state, editor=state.editor.typed(key)), []
    text = state.editor.text.strip()
    back = attrs.evolve(_back(state), history=state.editor.remembered())
    if not text or state.selected is None:
        return back, []
    which = {"key": state.selected}
    leave = Call(f"{OURS}detach", which)  # whoever submits is attached, and would be asked
    prompt = which | {"prompt": [{"type": "text", "text": text}]}
    return back, [Call(f"{OURS}submit", prompt, f"{visible(state.selected)}: prompted", leave)]


def _making(state: State, key: Key, now: float) -> Done:
    if key.name == "esc":
        return tell(_back(state), "nothing was done", now), []
    if key.name != "enter":
        return attrs.evolve(state, editor=state.editor.typed(key)), []
    form = (*state.form, state.editor.text.strip())
    if len(form) < 3:
        view = state.view
        place = str(view["cwd"]) if view is not None else state.cwd
        offered = place if len(form) == 1 else f"{form[0] or 'agent'}:{form[1]}"
        return attrs.evolve(state, form=form, editor=Editor.of(offered)), []
    agent, cwd, name = form
    asked = {"key": name or f"{agent}:{cwd}", "cwd": os.path.expanduser(cwd)} | (
        {"agent": agent} if agent else {}
    )
    leave = Call(f"{OURS}detach", {"key": asked["key"]})
    state = tell(_back(state), f"{visible(asked['key'])}: starting …", now)
    return state, [Call(f"{OURS}open", asked, f"{visible(asked['key'])}: is here", leave)]


def _helping(state: State, key: Key, now: float) -> Done:
    return attrs.evolve(state, mode=Mode.TABLE), []


_MODES: dict[Mode, Callable[[State, Key, float], Done]] = {
    Mode.TABLE: _in_table,
    Mode.FILTER: _filtering,
    Mode.PROMPT: _prompting,
    Mode.NEW: _making,
    Mode.CONFIRM: _confirming,
    Mode.HELP: _helping,
}
_END = 10**6
_ACTS: dict[str, Callable[[State, float], Done]] = {
    "up": _move(-1),
    "k": _move(-1),
    "down": _move(1),
    "j": _move(1),
    "g": _move(-_END),
    "G": _move(_END),
    "enter": _enter,
    "esc": _escape,
    "tab": _turn_to(1),
    "right": _turn_to(1),
    "backtab": _turn_to(-1),
    "left": _turn_to(-1),
    "pageup": _scroll(PAGE),
    "pagedown": _scroll(-PAGE),
    "home": _scroll(_END),
    "end": _scroll(-_END),
    "a": _next_question,
    "p": _type(Mode.PROMPT),
    "n": _new,
    "c": _cancel,
    "x": _drop,
    "K": _ending("kill", "kill {} at once, for good?", "killed"),
    "X": _ending("close", "close {} for good?", "closed"),
    "/": _type(Mode.FILTER),
    "s": _sort,
    "S": _reverse,
    "?": _help,
    "q": _quit,
}
