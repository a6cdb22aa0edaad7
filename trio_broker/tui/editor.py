"""A line to type in, or several, with a history: a value and what each key makes of it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

import attrs

from trio_broker.tui.keys import Key

MAX_HISTORY = 200
NEWLINE_KEYS = ("alt-enter", "shift-enter", "ctrl-j", "ctrl-enter")
_WORD_BEFORE = re.compile(r"\S*\s*\Z")
_WORD_AFTER = re.compile(r"\s*\S*")


@attrs.frozen
class Editor:
    """`history_index`: steps back in the history. `draft`: the text before the first of these steps."""

    text: str = ""
    cursor: int = 0
    history: tuple[str, ...] = ()
    history_index: int = 0
    draft: str = ""

    @classmethod
    def with_text(cls, text: str, history: tuple[str, ...] = ()) -> Editor:
        return cls(text, len(text), history)

    def handle_key(self, key: Key) -> Editor:
        """What it is after this key; the same if that does nothing here."""
        if key.name in NEWLINE_KEYS:
            return self._insert("\n")
        if key.text:
            return self._insert(key.text)
        edit = _BINDINGS.get(key.name)
        return self if edit is None else edit(self)

    def history_with_text(self) -> tuple[str, ...]:
        """The history with this text in it, once."""
        if not self.text.strip():
            return self.history
        return (*(text for text in self.history if text != self.text), self.text)[-MAX_HISTORY:]

    def _insert(self, text: str) -> Editor:
        whole = self.text[: self.cursor] + text + self.text[self.cursor :]
        return attrs.evolve(self, text=whole, cursor=self.cursor + len(text))

    def _move_to(self, cursor: int) -> Editor:
        return attrs.evolve(self, cursor=max(0, min(cursor, len(self.text))))

    def _delete(self, start: int, end: int) -> Editor:
        start, end = max(0, start), min(end, len(self.text))
        return attrs.evolve(self, text=self.text[:start] + self.text[end:], cursor=start)

    def _position_before(self) -> int:
        """The place of the character before, with all that combines with it."""
        at = self.cursor - 1
        while at > 0 and _is_combining(self.text[at]):
            at -= 1
        return max(0, at)

    def _position_after(self) -> int:
        at = self.cursor + 1
        while at < len(self.text) and _is_combining(self.text[at]):
            at += 1
        return min(at, len(self.text))

    def _line_bounds(self) -> tuple[int, int]:
        """Where the line with the cursor begins and ends."""
        end = self.text.find("\n", self.cursor)
        return self.text.rfind("\n", 0, self.cursor) + 1, len(self.text) if end < 0 else end

    def _word_start(self) -> int:
        found = _WORD_BEFORE.search(self.text[: self.cursor])
        return found.start() if found else 0

    def _word_end(self) -> int:
        found = _WORD_AFTER.match(self.text, self.cursor)
        return found.end() if found else len(self.text)

    def _up(self) -> Editor:
        start, _ = self._line_bounds()
        if start == 0:
            return self._recall(self.history_index + 1)
        above = self.text.rfind("\n", 0, start - 1) + 1
        return self._move_to(min(above + self.cursor - start, start - 1))

    def _down(self) -> Editor:
        start, end = self._line_bounds()
        if end == len(self.text):
            return self._recall(self.history_index - 1)
        after = self.text.find("\n", end + 1)
        return self._move_to(min(end + 1 + self.cursor - start, len(self.text) if after < 0 else after))

    def _recall(self, at: int) -> Editor:
        if not 0 <= at <= len(self.history) or at == self.history_index:
            return self
        draft = self.text if self.history_index == 0 else self.draft
        text = self.history[-at] if at else draft
        return Editor(text, len(text), self.history, at, draft)


def _is_combining(character: str) -> bool:
    return unicodedata.combining(character) > 0 or character in "\u200d\ufe0f\ufe0e"


_BINDINGS: dict[str, Callable[[Editor], Editor]] = {
    "left": lambda e: e._move_to(e._position_before()),
    "right": lambda e: e._move_to(e._position_after()),
    "home": lambda e: e._move_to(e._line_bounds()[0]),
    "ctrl-a": lambda e: e._move_to(e._line_bounds()[0]),
    "end": lambda e: e._move_to(e._line_bounds()[1]),
    "ctrl-e": lambda e: e._move_to(e._line_bounds()[1]),
    "ctrl-left": lambda e: e._move_to(e._word_start()),
    "alt-b": lambda e: e._move_to(e._word_start()),
    "ctrl-right": lambda e: e._move_to(e._word_end()),
    "alt-f": lambda e: e._move_to(e._word_end()),
    "backspace": lambda e: e._delete(e._position_before(), e.cursor),
    "delete": lambda e: e._delete(e.cursor, e._position_after()),
    "ctrl-d": lambda e: e._delete(e.cursor, e._position_after()),
    "ctrl-w": lambda e: e._delete(e._word_start(), e.cursor),
    "alt-backspace": lambda e: e._delete(e._word_start(), e.cursor),
    "ctrl-u": lambda e: e._delete(e._line_bounds()[0], e.cursor),
    "ctrl-k": lambda e: e._delete(e.cursor, e._line_bounds()[1]),
    "up": Editor._up,
    "down": Editor._down,
}
