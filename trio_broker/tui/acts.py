"""What each key does: a state and a key in, a state and what is to be done out."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from trio_broker.tui import deeds, forms
from trio_broker.tui.deeds import Outcome
from trio_broker.tui.forms import leave_input
from trio_broker.tui.input import Key
from trio_broker.tui.state import (
    NO_BROKER,
    SORT_COLUMNS,
    BrokerCall,
    Command,
    Mode,
    State,
    Tab,
    select,
    show_notice,
    update_selection,
)

PAGE = 10  # lines
ALL = 10**6  # lines or sessions: more than there are
SCROLLS = {"up": -1, "down": 1, "pageup": -PAGE, "pagedown": PAGE, "home": -ALL, "end": ALL}
NEED_BROKER = frozenset("pincxKXR")  # they would ask for words, or for a yes, before there is nobody to tell


def handle_key(state: State, key: Key, now: float) -> Outcome:
    """What a key makes of the state, and what else is to be done."""
    if key.name == "ctrl-l":
        return state, [Command.REDRAW]
    if key.name == "ctrl-z":
        return state, [Command.SUSPEND]
    if key.name == "ctrl-c":
        return (state, [Command.QUIT]) if state.mode is Mode.TABLE else (leave_input(state), [])
    after, effects = _KEY_HANDLERS[state.mode](state, key, now)
    if state.disconnected is not None and any(isinstance(effect, BrokerCall) for effect in effects):
        return _refuse_calls(state, now), []
    return after, effects


def _refuse_calls(state: State, now: float) -> State:
    """Instead of a call to a broker that is gone: what was typed stays where it is, until there is one again."""
    if state.mode is Mode.CONFIRM:
        return show_notice(leave_input(state), NO_BROKER, now, error=True)
    typing = "" if state.mode is Mode.TABLE else "; Enter tries again, Esc leaves it"
    return show_notice(state, f"{NO_BROKER}{typing}", now, error=True)


def _handle_table_key(state: State, key: Key, now: float) -> Outcome:
    if state.disconnected is not None and key.name in NEED_BROKER:
        return show_notice(state, NO_BROKER, now, error=True), []
    if key.name.isdigit():
        return deeds.answer_request(state, int(key.name), now)
    action = _BINDINGS.get(key.name)
    return (state, []) if action is None else action(state, now)


def _move(steps: int) -> Callable[[State, float], Outcome]:
    def move(state: State, now: float) -> Outcome:
        session = state.session
        if state.tab is Tab.QUEUE and state.show_detail and session is not None and session["queued"]:
            at = max(0, min(state.queue_index + steps, len(session["queued"]) - 1))
            return attrs.evolve(state, selected_prompt=session["queued"][at]["promptId"]), []
        rows = state.visible_sessions()
        if not rows:
            return state, []
        place = next((at for at, row in enumerate(rows) if row["key"] == state.selected), 0)
        return select(state, rows[max(0, min(place + steps, len(rows) - 1))]["key"]), []

    return move


def _scroll(lines: int) -> Callable[[State, float], Outcome]:
    def scroll(state: State, now: float) -> Outcome:
        up = lines if state.tab in (Tab.TRANSCRIPT, Tab.LOG, Tab.STDERR) else -lines
        after = max(0, state.scroll + up)
        return attrs.evolve(
            state, scroll=after, pane_lines=state.pane_lines if state.scroll and after else 0
        ), []

    return scroll


def _switch_tab(steps: int) -> Callable[[State, float], Outcome]:
    def switch_tab(state: State, now: float) -> Outcome:
        tabs = list(Tab)
        tab = tabs[(tabs.index(state.tab) + steps) % len(tabs)]
        return attrs.evolve(state, tab=tab, scroll=0, pane_lines=0), []

    return switch_tab


def _toggle_detail(state: State, now: float) -> Outcome:
    return attrs.evolve(state, show_detail=not state.show_detail), []


def _escape(state: State, now: float) -> Outcome:
    if state.scroll:
        return attrs.evolve(state, scroll=0, pane_lines=0), []
    if state.show_detail:
        return attrs.evolve(state, show_detail=False), []
    return update_selection(attrs.evolve(state, filter="", notice=None), now), []


def _sort_by(steps: int) -> Callable[[State, float], Outcome]:
    def sort(state: State, now: float) -> Outcome:
        by = SORT_COLUMNS[(SORT_COLUMNS.index(state.sort) + steps) % len(SORT_COLUMNS)]
        return attrs.evolve(state, sort=by, reverse=False), []

    return sort


def _reverse(state: State, now: float) -> Outcome:
    return attrs.evolve(state, reverse=not state.reverse), []


def _help(state: State, now: float) -> Outcome:
    return attrs.evolve(state, mode=Mode.HELP), []


def _quit(state: State, now: float) -> Outcome:
    return state, [Command.QUIT]


def _handle_confirm_key(state: State, key: Key, now: float) -> Outcome:
    pending = state.confirmation
    if key.name in ("y", "Y") and pending is not None:
        return leave_input(state), [pending.call]
    if key.name in ("n", "N", "esc", "q", "enter"):
        return show_notice(leave_input(state), "nothing was done", now), []
    return state, []


def _handle_help_key(state: State, key: Key, now: float) -> Outcome:
    if (lines := SCROLLS.get(key.name)) is not None:
        return attrs.evolve(state, help_scroll=max(0, state.help_scroll + lines)), []
    return attrs.evolve(state, mode=Mode.TABLE, help_scroll=0), []


_KEY_HANDLERS: dict[Mode, Callable[[State, Key, float], Outcome]] = {
    Mode.TABLE: _handle_table_key,
    Mode.FILTER: forms.handle_filter_key,
    Mode.PROMPT: forms.handle_prompt_key,
    Mode.INTERRUPT: forms.handle_prompt_key,
    Mode.EDIT: forms.handle_edit_key,
    Mode.NEW: forms.handle_new_session_key,
    Mode.CONFIRM: _handle_confirm_key,
    Mode.HELP: _handle_help_key,
}
_BINDINGS: dict[str, Callable[[State, float], Outcome]] = {
    "up": _move(-1),
    "k": _move(-1),
    "down": _move(1),
    "j": _move(1),
    "g": _move(-ALL),
    "G": _move(ALL),
    "enter": _toggle_detail,
    "esc": _escape,
    "tab": _switch_tab(1),
    "right": _switch_tab(1),
    "backtab": _switch_tab(-1),
    "left": _switch_tab(-1),
    "pageup": _scroll(PAGE),
    "pagedown": _scroll(-PAGE),
    "home": _scroll(ALL),
    "end": _scroll(-ALL),
    "a": deeds.select_next_request,
    "p": forms.start_input(Mode.PROMPT),
    "i": forms.start_input(Mode.INTERRUPT),
    "n": forms.start_new_session,
    "r": deeds.switch_role,
    "c": deeds.cancel_turn,
    "e": deeds.edit_prompt,
    "x": deeds.drop_prompt,
    "[": deeds.move_prompt(-1),
    "]": deeds.move_prompt(1),
    "K": deeds.end_session("kill", "kill {} at once, for good?", "killed"),
    "X": deeds.end_session("close", "close {} for good?", "closed"),
    "R": deeds.restart_agent,
    "/": forms.start_input(Mode.FILTER),
    "s": _sort_by(1),
    "<": _sort_by(-1),
    ">": _sort_by(1),
    "S": _reverse,
    "?": _help,
    "q": _quit,
}
