"""The keys in what a terminal sends: escape sequences, UTF-8 and bracketed pastes, however the bytes are split."""

from __future__ import annotations

import re

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
