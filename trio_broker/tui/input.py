"""Keyboard input: key presses in the bytes that a terminal sends, and the editor that they change.

`KeyDecoder` decodes escape sequences, UTF-8 and bracketed pastes, however the bytes are split. `Editor` is the text of
an input line, of one or several lines, with a history: an immutable value with one method for each key.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

import attrs

MAX_SEQUENCE = 64  # bytes of an escape sequence; a longer one is nonsense
MAX_PASTE = 1024 * 1024
PASTE_END = b"\x1b[201~"

_CSI = re.compile(rb"\x1b\[([0-?]*)([ -/]*)([@-~])")
_CSI_PREFIX = re.compile(rb"\x1b\[[0-?]*[ -/]*\Z")
_CSI_FINAL_KEYS = {
    "A": "up",
    "B": "down",
    "C": "right",
    "D": "left",
    "H": "home",
    "F": "end",
    "Z": "backtab",
    "E": "centre",
}
_CSI_FINAL_KEYS |= {"P": "f1", "Q": "f2", "R": "f3", "S": "f4"}
_CSI_TILDE_KEYS = {
    1: "home",
    7: "home",
    4: "end",
    8: "end",
    2: "insert",
    3: "delete",
    5: "pageup",
    6: "pagedown",
}
_CSI_TILDE_KEYS |= {11: "f1", 12: "f2", 13: "f3", 14: "f4", 15: "f5"}
_KEY_CODES = {13: "enter", 9: "tab", 27: "esc", 127: "backspace", 32: " "}
_CONTROL_KEYS = {9: "tab", 13: "enter", 8: "backspace", 127: "backspace", 0: "ctrl- "}


@attrs.frozen
class Key:
    """`name`: a character, or a word such as `up`, `ctrl-c`, `alt-enter`, `paste`; `text`: what it types, or ""."""

    name: str
    text: str = ""


@attrs.define(eq=False)
class KeyDecoder:
    """Feed it bytes as they come. A lone ESC is a key, or the beginning of a sequence: `flush` says it was the key."""

    _buffer: bytes = b""
    _pasting: bool = False

    @property
    def pending(self) -> bool:
        """Something stands there that may be whole, or may go on."""
        return bool(self._buffer) and not self._pasting

    def feed(self, data: bytes) -> list[Key]:
        self._buffer += data
        return self._decode(final=False)

    def flush(self) -> list[Key]:
        """Nothing has followed for a while: what is there is all. A paste is waited for."""
        return self._decode(final=True)

    def _decode(self, *, final: bool) -> list[Key]:
        found: list[Key] = []
        while self._buffer:
            taken, key = self._decode_paste() if self._pasting else self._decode_key(final)
            if not taken:
                break
            self._buffer = self._buffer[taken:]
            if key is not None:
                found.append(key)
        return found

    def _decode_paste(self) -> tuple[int, Key | None]:
        end = self._buffer.find(PASTE_END)
        if end < 0 and len(self._buffer) < MAX_PASTE:
            return 0, None
        self._pasting = False
        body = self._buffer if end < 0 else self._buffer[:end]
        text = body.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n")
        return len(body) + (len(PASTE_END) if end >= 0 else 0), Key("paste", text)

    def _decode_key(self, final: bool) -> tuple[int, Key | None]:
        """How many bytes the next key takes, 0 when more have to come, and the key if it is one we know."""
        first = self._buffer[0]
        if first == 0x1B:
            return self._decode_escape(final)
        if first < 32 or first == 127:
            return 1, Key(_CONTROL_KEYS.get(first) or f"ctrl-{chr(first + 96)}")
        return _decode_character(self._buffer, final)

    def _decode_escape(self, final: bool) -> tuple[int, Key | None]:
        rest = self._buffer
        if len(rest) == 1:
            return (1, Key("esc")) if final else (0, None)
        if rest[1] == 0x5B:
            return self._decode_csi(final)
        if rest[1] == 0x4F:
            if len(rest) == 2:
                return (2, Key("alt-O")) if final else (0, None)
            return 3, _with_modifiers(_CSI_FINAL_KEYS.get(chr(rest[2])), 1)
        if rest[1] == 0x1B:
            return 1, Key("esc")
        if rest[1] < 32 or rest[1] == 127:
            return 2, Key("alt-" + (_CONTROL_KEYS.get(rest[1]) or f"ctrl-{chr(rest[1] + 96)}"))
        taken, key = _decode_character(rest[1:], final)
        return (1 + taken, Key(f"alt-{key.name}")) if taken and key else (0, None)

    def _decode_csi(self, final: bool) -> tuple[int, Key | None]:
        if (found := _CSI.match(self._buffer)) is not None and found.end() <= MAX_SEQUENCE:
            if found[1] == b"200" and found[3] == b"~":
                self._pasting = True
                return found.end(), None
            return found.end(), _csi_key(found[1].decode(), found[3].decode())
        if _CSI_PREFIX.match(self._buffer) and len(self._buffer) < MAX_SEQUENCE:
            if not final:
                return 0, None
            return (2, Key("alt-[")) if len(self._buffer) == 2 else (len(self._buffer), None)
        return 2, None


def _decode_character(data: bytes, final: bool) -> tuple[int, Key | None]:
    first = data[0]
    length = 1 if first < 0x80 else 2 if 0xC2 <= first < 0xE0 else 3 if 0xE0 <= first < 0xF0 else 4
    if 0x80 <= first < 0xC2 or first > 0xF4:
        return 1, Key("�", "�")
    for at in range(1, length):
        if at == len(data):
            return (at, Key("�", "�")) if final else (0, None)
        if not 0x80 <= data[at] < 0xC0:
            return at, Key("�", "�")
    text = data[:length].decode("utf-8", "replace")[:1]
    return length, Key(text, text)


def _csi_key(params: str, end: str) -> Key | None:
    numbers = [
        int(part.split(":")[0] or 1) if part.split(":")[0].isdigit() or not part else 0
        for part in params.split(";")
    ]
    modifiers = numbers[1] if len(numbers) > 1 else 1
    if end == "u":
        return _with_modifiers(_KEY_CODES.get(numbers[0]), modifiers)
    if end == "~" and numbers[0] == 27 and len(numbers) == 3:
        return _with_modifiers(_KEY_CODES.get(numbers[2]), modifiers)
    if end == "~":
        return _with_modifiers(_CSI_TILDE_KEYS.get(numbers[0]), modifiers)
    return _with_modifiers(_CSI_FINAL_KEYS.get(end), modifiers)


def _with_modifiers(name: str | None, modifiers: int) -> Key | None:
    if name is None:
        return None
    bits = max(0, modifiers - 1)
    prefix = "".join(word for bit, word in ((4, "ctrl-"), (2, "alt-"), (1, "shift-")) if bits & bit)
    return Key(prefix + name)


MAX_HISTORY = 200  # texts
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
