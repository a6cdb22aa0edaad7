"""Colours and glyphs. The sixteen colours of the terminal's own theme, and a glyph or a word beside each."""

from __future__ import annotations

from rich.style import Style

PLAIN = Style()
DIM = Style(dim=True)
BOLD = Style(bold=True)
ACCENT = Style(color="cyan")
TITLE = Style(color="cyan", bold=True)
GOOD = Style(color="green")
BAD = Style(color="red")
ALARM = Style(color="red", bold=True)
ASKS = Style(color="yellow", bold=True)
SOFT_ASK = Style(color="yellow")
KEYS = Style(bold=True)
CHOSEN = Style(reverse=True)
ADDED = Style(color="green")
REMOVED = Style(color="red")

PHASES: dict[str, tuple[str, Style]] = {
    "starting": ("◔", Style(color="blue")),
    "idle": ("○", DIM),
    "working": ("●", Style(color="green")),
    "waiting": ("▲", ASKS),
    "cancelling": ("◌", Style(color="magenta")),
    "suspended": ("‖", DIM),
    "dead": ("✗", ALARM),
    "closed": ("·", DIM),
}
TOOLS: dict[str, tuple[str, Style]] = {
    "pending": ("◇", DIM),
    "in_progress": ("◈", ACCENT),
    "completed": ("✓", GOOD),
    "failed": ("✗", BAD),
}
STEPS: dict[str, tuple[str, Style]] = {
    "completed": ("✓", GOOD),
    "in_progress": ("▸", TITLE),
    "pending": ("·", DIM),
}
MARKER = "▌"
BARS = "▁▂▃▄▅▆▇█"


def phase(name: str) -> tuple[str, Style]:
    return PHASES.get(name, ("?", PLAIN))


def spark(samples: tuple[float, ...], width: int) -> str:
    """The samples as bars, the newest at the right; the highest of them is full."""
    top = max(samples, default=0.0)
    bars = "".join(BARS[min(7, int(sample / top * 7.999))] if sample else " " for sample in samples[-width:])
    return bars.rjust(width)
