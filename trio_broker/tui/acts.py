"""What each key does: a state and a key in, a state and what is to be done out."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from trio_broker.tui import deeds, forms
from trio_broker.tui.deeds import Done
from trio_broker.tui.forms import back
from trio_broker.tui.keys import Key
from trio_broker.tui.state import NO_BROKER, SORTS, Call, Command, Mode, State, Tab, select, settled, tell

PAGE = 10  # lines
END = 10**6  # lines or sessions: more than there are
SCROLLS = {"up": -1, "down": 1, "pageup": -PAGE, "pagedown": PAGE, "home": -END, "end": END}
NEED_BROKER = frozenset("pincxKXR")  # they would ask for words, or for a yes, before there is nobody to tell


def pressed(state: State, key: Key, now: float) -> Done:
    """What a key makes of the state, and what else is to be done."""
    if key.name == "ctrl-l":
        return state, [Command.REDRAW]
    if key.name == "ctrl-z":
        return state, [Command.SUSPEND]
    if key.name == "ctrl-c":
        return (state, [Command.QUIT]) if state.mode is Mode.TABLE else (back(state), [])
    after, effects = _MODES[state.mode](state, key, now)
    if state.gone is not None and any(isinstance(effect, Call) for effect in effects):
        return _kept(state, now), []
    return after, effects


def _kept(state: State, now: float) -> State:
    """Instead of a call to a broker that is gone: what was typed stays where it is, until there is one again."""
    if state.mode is Mode.CONFIRM:
        return tell(back(state), NO_BROKER, now, mishap=True)
    typing = "" if state.mode is Mode.TABLE else "; Enter tries again, Esc leaves it"
    return tell(state, f"{NO_BROKER}{typing}", now, mishap=True)


def _in_table(state: State, key: Key, now: float) -> Done:
    if state.gone is not None and key.name in NEED_BROKER:
        return tell(state, NO_BROKER, now, mishap=True), []
    if key.name.isdigit():
        return deeds.answer(state, int(key.name), now)
    act = _ACTS.get(key.name)
    return (state, []) if act is None else act(state, now)


def _move(steps: int) -> Callable[[State, float], Done]:
    def move(state: State, now: float) -> Done:
        view = state.view
        if state.tab is Tab.QUEUE and state.detail and view is not None and view["queued"]:
            at = max(0, min(state.queue_at + steps, len(view["queued"]) - 1))
            return attrs.evolve(state, chosen=view["queued"][at]["promptId"]), []
        rows = state.rows()
        if not rows:
            return state, []
        place = next((at for at, row in enumerate(rows) if row["key"] == state.selected), 0)
        return select(state, rows[max(0, min(place + steps, len(rows) - 1))]["key"]), []

    return move


def _scroll(lines: int) -> Callable[[State, float], Done]:
    def scroll(state: State, now: float) -> Done:
        up = lines if state.tab in (Tab.TRANSCRIPT, Tab.LOG, Tab.STDERR) else -lines
        after = max(0, state.scroll + up)
        return attrs.evolve(state, scroll=after, extent=state.extent if state.scroll and after else 0), []

    return scroll


def _turn_to(steps: int) -> Callable[[State, float], Done]:
    def turn_to(state: State, now: float) -> Done:
        tabs = list(Tab)
        tab = tabs[(tabs.index(state.tab) + steps) % len(tabs)]
        return attrs.evolve(state, tab=tab, scroll=0, extent=0), []

    return turn_to


def _enter(state: State, now: float) -> Done:
    return attrs.evolve(state, detail=not state.detail), []


def _escape(state: State, now: float) -> Done:
    if state.scroll:
        return attrs.evolve(state, scroll=0, extent=0), []
    if state.detail:
        return attrs.evolve(state, detail=False), []
    return settled(attrs.evolve(state, filter="", notice=None), now), []


def _sort(steps: int) -> Callable[[State, float], Done]:
    def sort(state: State, now: float) -> Done:
        by = SORTS[(SORTS.index(state.sort) + steps) % len(SORTS)]
        return attrs.evolve(state, sort=by, reverse=False), []

    return sort


def _reverse(state: State, now: float) -> Done:
    return attrs.evolve(state, reverse=not state.reverse), []


def _help(state: State, now: float) -> Done:
    return attrs.evolve(state, mode=Mode.HELP), []


def _quit(state: State, now: float) -> Done:
    return state, [Command.QUIT]


def _confirming(state: State, key: Key, now: float) -> Done:
    pending = state.pending
    if key.name in ("y", "Y") and pending is not None:
        return back(state), [pending.call]
    if key.name in ("n", "N", "esc", "q", "enter"):
        return tell(back(state), "nothing was done", now), []
    return state, []


def _helping(state: State, key: Key, now: float) -> Done:
    if (lines := SCROLLS.get(key.name)) is not None:
        return attrs.evolve(state, help_at=max(0, state.help_at + lines)), []
    return attrs.evolve(state, mode=Mode.TABLE, help_at=0), []


_MODES: dict[Mode, Callable[[State, Key, float], Done]] = {
    Mode.TABLE: _in_table,
    Mode.FILTER: forms.filtering,
    Mode.PROMPT: forms.prompting,
    Mode.INTERRUPT: forms.prompting,
    Mode.EDIT: forms.editing,
    Mode.NEW: forms.making,
    Mode.CONFIRM: _confirming,
    Mode.HELP: _helping,
}
_ACTS: dict[str, Callable[[State, float], Done]] = {
    "up": _move(-1),
    "k": _move(-1),
    "down": _move(1),
    "j": _move(1),
    "g": _move(-END),
    "G": _move(END),
    "enter": _enter,
    "esc": _escape,
    "tab": _turn_to(1),
    "right": _turn_to(1),
    "backtab": _turn_to(-1),
    "left": _turn_to(-1),
    "pageup": _scroll(PAGE),
    "pagedown": _scroll(-PAGE),
    "home": _scroll(END),
    "end": _scroll(-END),
    "a": deeds.next_question,
    "p": forms.begin(Mode.PROMPT),
    "i": forms.begin(Mode.INTERRUPT),
    "n": forms.begin_new,
    "r": deeds.next_role,
    "c": deeds.cancel,
    "e": deeds.edit,
    "x": deeds.drop,
    "[": deeds.move(-1),
    "]": deeds.move(1),
    "K": deeds.ending("kill", "kill {} at once, for good?", "killed"),
    "X": deeds.ending("close", "close {} for good?", "closed"),
    "R": deeds.restart,
    "/": forms.begin(Mode.FILTER),
    "s": _sort(1),
    "<": _sort(-1),
    ">": _sort(1),
    "S": _reverse,
    "?": _help,
    "q": _quit,
}
