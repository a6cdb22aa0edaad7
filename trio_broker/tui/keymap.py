"""The keymap: which action each key starts in each mode, the help page about the keys, and the hints in the last line.

`handle_key` takes a state and a key. It returns a state, and the calls and commands that the app is to run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs
from rich.segment import Segment

from trio_broker.tui import actions
from trio_broker.tui.actions import Outcome, leave_input
from trio_broker.tui.input import Editor, Key
from trio_broker.tui.question.focus import (
    forget_drawn,
    go_to_question,
    handle_question_key,
    open_question,
    refuse_answer,
)
from trio_broker.tui.state import (
    NO_BROKER,
    SORT_COLUMNS,
    BrokerCall,
    Command,
    Mode,
    State,
    Tab,
    select_session,
    show_notice,
    update_selection,
)
from trio_broker.tui.text import Line, Theme, clip, fit, styled, visible, width_of

PAGE = 10  # lines
ALL = 10**6  # lines or sessions: more than there are
SCROLLS = {"up": -1, "down": 1, "pageup": -PAGE, "pagedown": PAGE, "home": -ALL, "end": ALL}
NEED_BROKER = frozenset(
    "avpincxKXR"
)  # they would ask for words, or for a yes, before there is nobody to tell


def handle_key(state: State, key: Key, now: float) -> Outcome:
    """What a key makes of the state, and what else is to be done."""
    if key.name == "ctrl-l":
        return state, [Command.REDRAW]
    if key.name == "ctrl-z":
        return forget_drawn(state), [Command.SUSPEND]
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
    typing = "" if state.mode in (Mode.TABLE, Mode.QUESTION) else "; Enter tries again, Esc leaves it"
    return show_notice(state, f"{NO_BROKER}{typing}", now, error=True)


def _handle_table_key(state: State, key: Key, now: float) -> Outcome:
    if state.disconnected is not None and key.name in NEED_BROKER:
        return show_notice(state, NO_BROKER, now, error=True), []
    if key.name.isdigit():
        return refuse_answer(state, now)
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
        return select_session(state, rows[max(0, min(place + steps, len(rows) - 1))]["key"]), []

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


def _start_filter(state: State, now: float) -> Outcome:
    return attrs.evolve(state, mode=Mode.FILTER, editor=Editor.with_text(state.filter), notice=None), []


def _open_help(state: State, now: float) -> Outcome:
    return attrs.evolve(state, mode=Mode.HELP), []


def _quit(state: State, now: float) -> Outcome:
    return state, [Command.QUIT]


def _handle_filter_key(state: State, key: Key, now: float) -> Outcome:
    if key.name == "enter":
        return leave_input(state), []
    if key.name == "esc":
        return update_selection(leave_input(attrs.evolve(state, filter="")), now), []
    editor = state.editor.handle_key(key)
    text = " ".join(editor.text.split("\n"))
    return update_selection(attrs.evolve(state, editor=editor, filter=text), now), []


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
    Mode.FILTER: _handle_filter_key,
    Mode.PROMPT: actions.handle_prompt_key,
    Mode.INTERRUPT: actions.handle_prompt_key,
    Mode.EDIT: actions.handle_edit_key,
    Mode.NEW: actions.handle_new_session_key,
    Mode.CONFIRM: _handle_confirm_key,
    Mode.QUESTION: handle_question_key,
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
    "a": go_to_question,
    "v": open_question,
    "y": refuse_answer,
    "p": actions.start_prompt(Mode.PROMPT),
    "i": actions.start_prompt(Mode.INTERRUPT),
    "n": actions.start_new_session,
    "r": actions.switch_role,
    "c": actions.cancel_turn,
    "e": actions.edit_prompt,
    "x": actions.drop_prompt,
    "[": actions.move_prompt(-1),
    "]": actions.move_prompt(1),
    "K": actions.end_session("kill", "kill {} at once, for good?", "killed"),
    "X": actions.end_session("close", "close {} for good?", "closed"),
    "R": actions.restart_agent,
    "/": _start_filter,
    "s": _sort_by(1),
    "<": _sort_by(-1),
    ">": _sort_by(1),
    "S": _reverse,
    "?": _open_help,
    "q": _quit,
}


# The help page: every key, in two columns where there is room for them

KEY_WIDTH = 13  # cells for the keys
COLUMN_WIDTH = 38  # cells, at least, for what they do and their keys
KeyGroup = tuple[str, tuple[tuple[str, str], ...]]

LEFT_GROUPS: tuple[KeyGroup, ...] = (
    (
        "move",
        (
            ("↑ ↓   j k", "another session"),
            ("g G", "the first, the last"),
            ("Enter", "look into it, and back"),
            ("Tab   ← →", "what is shown of it"),
            ("PgUp PgDn", "scroll; End follows again"),
            ("Esc", "back, and clear the filter"),
        ),
    ),
    (
        "answer a question",
        (
            ("a", "to the question; the next"),
            ("v", "all of it; PgUp PgDn scroll"),
            ("y   n", "allow or fill in, reject"),
            ("A   D", "the same always; y confirms"),
            ("1-9   Esc", "that choice; no answer"),
        ),
    ),
    (
        "look",
        (
            ("/", "filter: words in any column"),
            ("s < >", "sort by another column"),
            ("S", "turn the order round"),
            ("Ctrl-L", "draw anew"),
            ("q", "quit; turns go on"),
        ),
    ),
)
RIGHT_GROUPS: tuple[KeyGroup, ...] = (
    (
        "act on the session",
        (
            ("p", "prompt"),
            ("i", "interrupt, and prompt"),
            ("c", "cancel the running turn"),
            ("n", "new session"),
            ("r", "observe, take part, leave"),
            ("R", "restart its agent"),
            ("X   K", "close, kill it"),
        ),
    ),
    (
        "its queue (Tab to it)",
        (
            ("e   x", "edit, drop the chosen one"),
            ("[   ]", "have it run earlier, later"),
        ),
    ),
    (
        "while typing",
        (
            ("Enter", "send it"),
            ("Alt-Enter", "a new line; so does Ctrl-J"),
            ("↑ ↓", "earlier prompts"),
            ("Esc", "leave it"),
        ),
    ),
)


def render_help(width: int) -> list[Line]:
    if width < 2 * COLUMN_WIDTH:
        return [[], *_render_groups(LEFT_GROUPS), [], *_render_groups(RIGHT_GROUPS)]
    left, right = _render_groups(LEFT_GROUPS), _render_groups(RIGHT_GROUPS)
    longest = max(len(left), len(right))
    column = max(COLUMN_WIDTH, min(56, width // 2))
    return [
        [],
        *([*fit(_line_at(left, at), column), *_line_at(right, at)] for at in range(longest)),
    ]


def _line_at(lines: list[Line], at: int) -> Line:
    return lines[at] if at < len(lines) else [Segment("")]


def _render_groups(groups: tuple[KeyGroup, ...]) -> list[Line]:
    lines: list[Line] = []
    for title, keys in groups:
        lines += [[]] if lines else []
        lines.append(styled((f"  {title}", Theme.TITLE)))
        lines += [styled((f"  {key:<{KEY_WIDTH - 2}}", Theme.KEY), text) for key, text in keys]
    return lines


# The hints in the last line

HINT_GAP = 3  # cells
QUESTION_HINTS = (
    ("?", " help"),
    ("Esc", " back"),
    ("y n A D 1-9", " answer"),
    ("v", " full"),
    ("a", " next question"),
)


def render_key_hints(state: State, width: int) -> Line:
    """The keys that matter now, the most telling first; as many as there is room for."""
    if state.mode is Mode.QUESTION:
        return _fit_hints(QUESTION_HINTS, width)
    session = state.session
    keys = [("?", " help"), ("q", "uit")]
    if state.filter:
        keys.append(("Esc", f" clears “{clip(visible(state.filter), 16)}”"))
    keys += [*_session_hints(state, session), ("n", "ew")] if state.disconnected is None else []
    keys += [("/", " filter"), ("s", f"ort: {state.sort}")]
    if session is not None:
        keys += [
            ("Enter", " back" if state.show_detail else " details"),
            ("Tab", " " + _next_tab(state.tab).value),
        ]
    return _fit_hints(keys, width)


def _fit_hints(keys: Sequence[tuple[str, str]], width: int) -> Line:
    """As many as there is room for; the first two stand at the end."""
    left, shown = width - 1, []
    for key, text in keys:
        left -= len(key) + width_of(text) + HINT_GAP
        if left < -HINT_GAP:
            break
        shown.append((key, text))
    ends, rest = shown[:2], shown[2:]
    line: Line = [Segment(" ")]
    for key, text in (*rest, *ends):
        line += [Segment(key, Theme.KEY), Segment(f"{text}{' ' * HINT_GAP}", Theme.DIM)]
    if sum(width_of(part.text) for part in line) > width:  # only the gap after the last of them does not fit
        line[-1] = Segment(line[-1].text.rstrip(), Theme.DIM)
    return line


def _session_hints(state: State, session: dict[str, Any] | None) -> list[tuple[str, str]]:
    """The keys that do something to a session."""
    keys = [("a", " answer")] if state.requests() else []
    if session is None:
        return keys
    if state.tab is Tab.QUEUE and session["queued"]:
        keys += [("e", "dit"), ("x", " drop"), ("[ ]", " move")]
    runs = session["turn_since"] is not None
    return [*keys, ("p", "rompt"), *([("c", "ancel"), ("i", "nterrupt")] if runs else [])]


def _next_tab(tab: Tab) -> Tab:
    tabs = list(Tab)
    return tabs[(tabs.index(tab) + 1) % len(tabs)]
