"""A permission request as rows of a terminal, and the keys that answer it. Pure: no terminal is touched here.

The rows of the agent stand behind a bar, continued ones behind another: no text of it can look like the choices, which
have none. The kind of each choice is written by us, beside the name that the agent gave it.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from itertools import islice

import attrs

from trio_broker.client.text_lines import TextLine, count
from trio_broker.protocol.visible_text import escape_line

BAR, CONTINUED = "│ ", "┊ "
LETTERS = {"allow_once": "y", "allow_always": "a", "reject_once": "n", "reject_always": "d"}
ALWAYS = ("allow_always", "reject_always")
TITLE_ROWS = 2  # of a title, kind or remark on the first screen
FEWEST_ROWS = 3  # of the request, however low the terminal is
COLOURS = {
    "title": "1",
    "command": "1",
    "url": "1",
    "path": "1",
    "hunk": "36",
    "added": "32",
    "removed": "31",
    "note": "33",
}


@attrs.frozen
class Choice:
    """`id`, `name` and `kind` as the agent gave them. `letter` is the key that chooses it; "" if none does."""

    id: str
    name: str
    kind: str
    letter: str = ""


def choices_of(options: Sequence[tuple[str, str, str]]) -> list[Choice]:
    """Choices from (id, name, kind). A letter means one kind, so it goes to an option that is the only one of it."""
    kinds = [kind for _, _, kind in options]
    return [
        Choice(id, name, kind, LETTERS.get(kind, "") if kinds.count(kind) == 1 else "")
        for id, name, kind in options
    ]


def wrap(line: TextLine, width: int) -> Iterator[str]:
    """The rows of one line, bar included, at most `width` cells each: broken anywhere, and nothing left out."""
    room = max(1, width - len(BAR))
    bar = BAR
    for piece in _pieces(line.text, room):
        yield bar + piece
        bar = CONTINUED


def _pieces(text: str, room: int) -> Iterator[str]:
    if text.isascii():
        yield from (text[start : start + room] for start in range(0, len(text) or 1, room))
        return
    piece, used = "", 0
    for character in text:
        cells = _most_cells(character)
        if used + cells > room or len(piece) > 8 * room:  # so many take no cell only as a prank
            yield piece
            piece, used = "", 0
        piece, used = piece + character, used + cells
    yield piece


def _most_cells(character: str) -> int:
    """How many cells a terminal gives it at most: they disagree, and a row must not be broken by the terminal."""
    from rich.cells import cell_len  # late: most texts are ASCII

    if character == "\ufe0f":  # makes an emoji, of two cells, of a sign that has one
        return 1
    cells = cell_len(character)
    return 2 if cells and unicodedata.east_asian_width(character) in "AFW" else cells


def paint(row: str, style: str, *, colour: bool) -> str:
    code = COLOURS.get(style)
    return f"{row[:2]}\x1b[{code}m{row[2:]}\x1b[0m" if colour and code else row


def head(lines: Sequence[TextLine], width: int, most: int, more: str, *, colour: bool = False) -> list[str]:
    """The first rows of a request, at most `most`. If anything is missing, the last row says so, and `more`: where.

    No line takes so many rows that it hides those below it: a title and a remark have few, any other has half of them.
    """
    rows: list[str] = []
    is_cut, complete = False, 0  # lines whose end is among the first rows
    for number, line in enumerate(lines, 1):
        alone = number == len(lines)
        room = (
            most + 1
            if alone
            else TITLE_ROWS
            if line.style in ("title", "note", "label")
            else max(2, most // 2)
        )
        part = [*islice(wrap(line, width - 1), room + 1)]
        if len(part) > room:
            is_cut = True
            part = [*part[: room - 1], part[room - 1] + "…"]
        rows += [paint(row, line.style, colour=colour) for row in part]
        complete += len(rows) < most
        if len(rows) > most:
            break
    if len(rows) <= most and not is_cut:
        return rows
    missing = len(lines) - complete
    what = [count(missing, "more line")] if missing else []
    what += ["long lines are cut"] if is_cut else []
    return [*rows[: most - 1], paint(f"{BAR}… {', '.join(what)}: {more}", "note", colour=colour)]


def option_rows(choices: Sequence[Choice], width: int, most: int) -> list[str]:
    """A row for each choice: its number, its letter, its kind, and its name; the last one counts those left out."""
    rows = []
    for number, choice in enumerate(choices, 1):
        kind = choice.kind.replace("_", " ") if choice.kind in LETTERS else "other"
        row = f"{number:3}  {choice.letter or ' '}  {kind:14} "
        pieces = [*islice(_pieces(escape_line(choice.name), max(1, width - len(row) - 2)), 2)]
        rows.append(row + pieces[0] + ("…" if len(pieces) > 1 else ""))
        if len(rows) == most and len(choices) > most:
            rows[-1] = f"  … {count(len(choices) - most + 1, 'more choice')}: v shows them"
            break
    return rows


def hint(choices: Sequence[Choice]) -> str:
    """The keys, in one row of 80 columns."""
    letters = "".join(f"{choice.letter}, " for choice in choices if choice.letter)
    digits = {0: "", 1: "1"}.get(len(choices), f"1-{len(choices)}") + (" Enter" if len(choices) > 9 else "")
    return f"  {letters}{digits}; v: all, Enter: again, c: dismiss for everybody > "


def first_screen(
    lines: Sequence[TextLine], choices: Sequence[Choice], width: int, height: int, *, colour: bool = False
) -> list[str]:
    """The request and its choices, in as many rows as are seen at once, the row of the keys not counted."""
    options = option_rows(choices, width, max(4, height // 2 - 2))
    most = max(FEWEST_ROWS, height - len(options) - 3)
    return [*head(lines, width, most, "v shows all", colour=colour), *options]


def whole_text(lines: Sequence[TextLine], choices: Sequence[Choice], width: int, *, colour: bool) -> str:
    """All of it, for a pager."""
    rows = [paint(row, line.style, colour=colour) for line in lines for row in wrap(line, width)]
    for number, choice in enumerate(choices, 1):
        line = TextLine("label", f"choice {number}: {escape_line(choice.kind)}: {escape_line(choice.name)}")
        rows += wrap(line, width)
    return "".join(f"{row}\n" for row in rows)


@attrs.define
class KeyReader:
    """What typed keys mean, one after the other.

    A choice for ever, and to dismiss the request for everybody, need a second key. Text that comes in one piece, as a
    paste does, and escape sequences (arrows, Alt with a letter) answer nothing.
    """

    choices: Sequence[Choice]
    digits: str = ""
    unconfirmed: Choice | str | None = None

    def read(self, data: bytes) -> Choice | str | None:
        """The choice; or dismiss, view, repeat, leave (end of the input), ask (`prompt` has changed); or None."""
        if not data or data == b"\x04":
            return "leave"
        key = data.decode("utf-8", "replace")
        nothing = "repeat" if key[-1] in "\r\n" else None
        key = "" if key.startswith("\x1b") else key.rstrip("\r\n")
        if self.unconfirmed is not None:
            confirmed, self.unconfirmed = self.unconfirmed, None
            return confirmed if key in ("y", "Y") else "repeat"
        if len(self.choices) > 9 and (key.isdecimal() or self.digits):
            return self._read_number(data.decode("utf-8", "replace"))
        if key == "v":
            return "view"
        if key == "c":
            return self._confirm("dismiss")
        for number, choice in enumerate(self.choices, 1):
            if key in (choice.letter, str(number)) and key:
                return self._confirm(choice) if choice.kind in ALWAYS else choice
        return "repeat" if key == "?" else nothing

    def _read_number(self, typed: str) -> Choice | str | None:
        for character in typed:
            if character in "\r\n":
                number, self.digits = self.digits, ""
                if not (number.isdecimal() and 1 <= int(number) <= len(self.choices)):
                    return "repeat"
                choice = self.choices[int(number) - 1]
                return self._confirm(choice) if choice.kind in ALWAYS else choice
            if character in "\x7f\b":
                self.digits = self.digits[:-1]
            elif character.isdecimal() and character.isascii() and len(self.digits) < 6:
                self.digits += character
        return "ask"

    def _confirm(self, what: Choice | str) -> str:
        self.unconfirmed = what
        return "ask"

    @property
    def prompt(self) -> str:
        """What stands before the cursor."""
        if self.unconfirmed == "dismiss":
            return "  dismiss it for everybody, with no choice: y to confirm, another key goes back > "
        if isinstance(self.unconfirmed, Choice):
            kind = self.unconfirmed.kind.replace("_", " ")
            return f"  {kind}, from now on, too: y to confirm, another key goes back > "
        return hint(self.choices) + self.digits
