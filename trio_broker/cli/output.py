"""Text for a terminal: nothing an agent says may move its cursor, and columns line up."""

from __future__ import annotations

import re
from collections.abc import Sequence

_RAW_CONTROLS = re.compile(rb"\x7f|\xc2[\x80-\x9f]")
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))}
_ONE_LINE = str.maketrans(_CONTROLS)
_MANY_LINES = str.maketrans({code: text for code, text in _CONTROLS.items() if chr(code) not in "\n\t"})


def safe(text: str) -> str:
    """One line in which control characters are written out (and half surrogate pairs replaced)."""
    return _whole(text.translate(_ONE_LINE))


def safe_lines(text: str) -> str:
    """The same, with newlines and tabs left in."""
    return _whole(text.replace("\r\n", "\n").translate(_MANY_LINES))


def _whole(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def safe_json(raw: bytes) -> bytes:
    """The same JSON, with DEL and the controls above 127 escaped; JSON itself has those below 32 escaped."""
    return _RAW_CONTROLS.sub(lambda found: b"\\u%04x" % ord(found[0].decode()), raw)


def ago(seconds: float | None) -> str:
    """A length of time in its two largest units: 4.2s, 3m10s, 2h05m."""
    if seconds is None:
        return "-"
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}h{minute:02}m" if hours else f"{minute}m{second:02}s"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell."""
    lines = [head, *rows]
    widths = [max(_width(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(
            cell + " " * (width - _width(cell)) for cell, width in zip(line, widths, strict=True)
        ).rstrip()
        for line in lines
    )


def _width(text: str) -> int:
    """How many columns of a terminal it takes: ideographs and most emoji two, what goes onto the one before none."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len  # late: most tables do without

    return cell_len(text)
