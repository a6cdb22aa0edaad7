r"""Text of others in visible form: no character in it moves the cursor, turns the direction of writing, or hides.

Agents and other people write titles, options, paths and texts. A terminal obeys some of their characters and shows
nothing for others, so that one permission request reads like another. Here each of these is written out: `\x1b`,
`\u202e`, `\U000e0041`. Written out are

* control characters (C0, DEL, C1), and the separators of lines and paragraphs,
* the controls of the direction of writing,
* characters that Unicode lets a screen ignore (Default_Ignorable_Code_Point), and others without a glyph: zero-width
  and filling ones, tags, variation selectors, interlinear and shorthand controls,
* surrogates and noncharacters.

Joiners stay where they do their work and can be seen doing it: between two emoji, and between two letters of the
scripts that need them (Arabic and those of India). So does the variation selector of an emoji.

ASCII, which is most text, is one `str.translate`. The rest is one pattern, compiled when it is first needed.
"""

from __future__ import annotations

import re
from functools import cache

_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), 127)}
_PICTURES = {code: chr(0x2400 + code) for code in range(32)} | {127: "\u2421"}
_KEPT_IN_LINES = {ord("\n"): "\n", ord("\t"): "\t"}
_ASCII = {
    (False, False): str.maketrans(_CONTROLS),
    (False, True): str.maketrans(_PICTURES),
    (True, False): str.maketrans(_CONTROLS | _KEPT_IN_LINES),
    (True, True): str.maketrans(_PICTURES | _KEPT_IN_LINES),
}

_UNSEEN = (
    r"\x7f-\x9f\xad\u034f\u061c\u070f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f\u2028-\u202e"
    r"\u2060-\u206f\u3164\ud800-\udfff\ufdd0-\ufdef\ufe00-\ufe0d\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff"
    r"\U00013430-\U0001345f\U00016fe4\U0001bca0-\U0001bca3\U0001d159\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_EMOJI = (
    r"\xa9\xae\u203c\u2049\u2122\u2139\u2190-\u21ff\u2300-\u23ff\u24c2\u25a0-\u27bf\u2900-\u297f\u2b00-\u2bff"
    r"\u3030\u303d\u3297\u3299\U0001f000-\U0001faff"
)
_JOINED_LETTERS = r"\u0620-\u06ff\u0750-\u077f\u08a0-\u08ff\u0900-\u0dff"
_STRAY_JOINER = (
    rf"(?!(?<=[{_EMOJI}\ufe0f])\u200d[{_EMOJI}])"
    rf"(?!(?<=[{_JOINED_LETTERS}])[\u200c\u200d][{_JOINED_LETTERS}])[\u200c\u200d]"
)
_STRAY_SELECTOR = rf"(?<![{_EMOJI}])(?!(?<=[0-9#*])\ufe0f\u20e3)[\ufe0e\ufe0f]"
_BLANKS = r"\xa0\u1680\u2000-\u200a\u202f\u205f\u2800\u3000"  # look like a space, and are none to a shell


def escape_line(text: str, *, pictures: bool = False) -> str:
    r"""The text as one line. `pictures`: controls below 32 are drawn in one cell (␛) instead of written out."""
    return _escape(text, lines=False, pictures=pictures)


def escape_lines(text: str, *, pictures: bool = False) -> str:
    r"""The same with newlines and tabs left in; a CR before a newline is dropped."""
    return _escape(text.replace("\r\n", "\n"), lines=True, pictures=pictures)


def escape_exact(text: str) -> str:
    r"""The text as one line, blanks written out, too, unless they are the space: for commands, paths and URLs."""
    return _escape(text, lines=False, pictures=False, more=_BLANKS)


def escape_json(raw: bytes) -> bytes:
    r"""The same JSON value on one line, with `\uXXXX` for what is not visible, and spaces for CR and newlines."""
    raw = raw.translate(_JSON_BLANKS)
    if raw.isascii():
        return raw.replace(b"\x7f", b"\\u007f")
    return _pattern().sub(_json_escape, raw.decode("utf-8", "replace")).encode()


_JSON_BLANKS = bytes.maketrans(b"\r\n\t", b"   ")


def _escape(text: str, *, lines: bool, pictures: bool, more: str = "") -> str:
    text = text.translate(_ASCII[lines, pictures])
    return text if text.isascii() else _pattern(more).sub(_escape_found, text)


@cache
def _pattern(more: str = "") -> re.Pattern[str]:
    return re.compile(f"[{_UNSEEN}{more}]|{_STRAY_JOINER}|{_STRAY_SELECTOR}")


def _escape_found(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _json_escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code < 0x10000:
        return f"\\u{code:04x}"
    code -= 0x10000
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"
