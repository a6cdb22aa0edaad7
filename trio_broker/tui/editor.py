"""A line to type in, or several, with a history: a value and what each key makes of it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

import attrs

from trio_broker.tui.keys import Key

HISTORY = 200
NEW_LINE = ("alt-enter", "shift-enter", "ctrl-j", "ctrl-enter")
_WORD_BEFORE = re.compile(r"\S*\s*\Z")
_WORD_AFTER = re.compile(r"\s*\S*")


@attrs.frozen
class Editor:
    """`at`: how many steps back in the history we are; `kept` is what was being typed before."""

    text: str = ""
    cursor: int = 0
    history: tuple[str, ...] = ()
    at: int = 0
    kept: str = ""

    @classmethod
    def of(cls, text: str, history: tuple[str, ...] = ()) -> Editor:
        return cls(text, len(text), history)

    def typed(self, key: Key) -> Editor:
        """What it is after this key; the same if that does nothing here."""
        if key.name in NEW_LINE:
            return self._insert("\n")
        if key.text:
            return self._insert(key.text)
        act = _ACTS.get(key.name)
        return self if act is None else act(self)

    def remembered(self) -> tuple[str, ...]:
        """The history with this text in it, once."""
        if not self.text.strip():
            return self.history
        return (*(text for text in self.history if text != self.text), self.text)[-HISTORY:]

    def _insert(self, text: str) -> Editor:
        whole = self.text[: self.cursor] + text + self.text[self.cursor :]
        return attrs.evolve(self, text=whole, cursor=self.cursor + len(text))

    def _to(self, cursor: int) -> Editor:
        return attrs.evolve(self, cursor=max(0, min(cursor, len(self.text))))

    def _cut(self, start: int, end: int) -> Editor:
        start, end = max(0, start), min(end, len(self.text))
        return attrs.evolve(self, text=self.text[:start] + self.text[end:], cursor=start)

    def _left(self) -> int:
        """The place of the character before, with all that combines with it."""
        at = self.cursor - 1
        while at > 0 and _combines(self.text[at]):
            at -= 1
        return max(0, at)

    def _right(self) -> int:
        at = self.cursor + 1
        while at < len(self.text) and _combines(self.text[at]):
            at += 1
        return min(at, len(self.text))

    def _line(self) -> tuple[int, int]:
        """Where the line with the cursor begins and ends."""
        end = self.text.find("\n", self.cursor)
        return self.text.rfind("\n", 0, self.cursor) + 1, len(self.text) if end < 0 else end

    def _word_left(self) -> int:
        found = _WORD_BEFORE.search(self.text[: self.cursor])
        return found.start() if found else 0

    def _word_right(self) -> int:
        found = _WORD_AFTER.match(self.text, self.cursor)
        return found.end() if found else len(self.text)

    def _up(self) -> Editor:
        start, _ = self._line()
        if start == 0:
            return self._recall(self.at + 1)
        above = self.text.rfind("\n", 0, start - 1) + 1
        return self._to(min(above + self.cursor - start, start - 1))

    def _down(self) -> Editor:
        start, end = self._line()
        if end == len(self.text):
            return self._recall(self.at - 1)
        after = self.text.find("\n", end + 1)
        return self._to(min(end + 1 + self.cursor - start, len(self.text) if after < 0 else after))

    def _recall(self, at: int) -> Editor:
        if not 0 <= at <= len(self.history) or at == self.at:
            return self
        kept = self.text if self.at == 0 else self.kept
        text = self.history[-at] if at else kept
        return Editor(text, len(text), self.history, at, kept)


def _combines(character: str) -> bool:
    return unicodedata.combining(character) > 0 or character in "\u200d\ufe0f\ufe0e"


_ACTS: dict[str, Callable[[Editor], Editor]] = {
    "left": lambda e: e._to(e._left()),
    "right": lambda e: e._to(e._right()),
    "home": lambda e: e._to(e._line()[0]),
    "ctrl-a": lambda e: e._to(e._line()[0]),
    "end": lambda e: e._to(e._line()[1]),
    "ctrl-e": lambda e: e._to(e._line()[1]),
    "ctrl-left": lambda e: e._to(e._word_left()),
    "alt-b": lambda e: e._to(e._word_left()),
    "ctrl-right": lambda e: e._to(e._word_right()),
    "alt-f": lambda e: e._to(e._word_right()),
    "backspace": lambda e: e._cut(e._left(), e.cursor),
    "delete": lambda e: e._cut(e.cursor, e._right()),
    "ctrl-d": lambda e: e._cut(e.cursor, e._right()),
    "ctrl-w": lambda e: e._cut(e._word_left(), e.cursor),
    "alt-backspace": lambda e: e._cut(e._word_left(), e.cursor),
    "ctrl-u": lambda e: e._cut(e._line()[0], e.cursor),
    "ctrl-k": lambda e: e._cut(e.cursor, e._line()[1]),
    "up": Editor._up,
    "down": Editor._down,
}
