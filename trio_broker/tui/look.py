"""Colours and glyphs. The sixteen colours of the terminal's own theme, and a glyph or a word beside each."""

from __future__ import annotations

from rich.style import Style

PLAIN = Style()
DIM = Style(dim=True)
BOLD = Style(bold=True)
ACCENT = Style(color="cyan")
TITLE = Style(color="cyan", bold=True)
SUCCESS = Style(color="green")
ERROR = Style(color="red")
ALARM = Style(color="red", bold=True)
ATTENTION = Style(color="yellow", bold=True)
WARNING = Style(color="yellow")
KEY = Style(bold=True)
SELECTED = Style(reverse=True)
ADDED = Style(color="green")
REMOVED = Style(color="red")

_PHASE_STYLES: dict[str, tuple[str, Style]] = {
    "starting": ("◔", Style(color="blue")),
    "idle": ("○", DIM),
    "working": ("●", Style(color="green")),
    "waiting": ("▲", ATTENTION),
    "cancelling": ("◌", Style(color="magenta")),
    "suspended": ("‖", DIM),
    "dead": ("✗", ALARM),
    "closed": ("·", DIM),
}
TOOL_STYLES: dict[str, tuple[str, Style]] = {
    "pending": ("◇", DIM),
    "in_progress": ("◈", ACCENT),
    "completed": ("✓", SUCCESS),
    "failed": ("✗", ERROR),
}
PLAN_STYLES: dict[str, tuple[str, Style]] = {
    "completed": ("✓", SUCCESS),
    "in_progress": ("▸", TITLE),
    "pending": ("·", DIM),
}
MARKER = "▌"
_BARS = "▁▂▃▄▅▆▇█"


def phase_style(name: str) -> tuple[str, Style]:
    return _PHASE_STYLES.get(name, ("?", PLAIN))


def sparkline(samples: tuple[float, ...], width: int) -> str:
    """The samples as bars, the newest at the right; the highest of them is full."""
    top = max(samples, default=0.0)
    bars = "".join(_BARS[min(7, int(sample / top * 7.999))] if sample else " " for sample in samples[-width:])
    return bars.rjust(width)
