"""A screen as an SVG image. It fetches no font: the viewer uses one that it has."""

from __future__ import annotations

import io

from rich.console import Console
from rich.terminal_theme import TerminalTheme

from trio_broker.tui.screen import Screen

SVG_THEME = TerminalTheme(
    (23, 25, 30),
    (208, 212, 220),
    [
        (23, 25, 30),
        (224, 108, 117),
        (143, 188, 124),
        (229, 192, 123),
        (97, 165, 229),
        (190, 132, 210),
        (86, 182, 194),
        (208, 212, 220),
    ],
)
SVG_TEMPLATE = """\
<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
    <style>
    .{unique_id}-matrix {{
        font-family: "Fira Code", "JetBrains Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace;
        font-size: {char_height}px;
        line-height: {line_height}px;
    }}
    .{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: sans-serif; }}
    {styles}
    </style>
    <defs>
    <clipPath id="{unique_id}-clip-terminal">
      <rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
    </clipPath>
    {lines}
    </defs>
    {chrome}
    <g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
    {backgrounds}
    <g class="{unique_id}-matrix">
    {matrix}
    </g>
    </g>
</svg>
"""


def render_svg(shown: Screen, width: int) -> str:
    """The screen, so many columns wide, in a window."""
    console = Console(
        width=width, file=io.StringIO(), record=True, force_terminal=True, color_system="truecolor"
    )
    console.print(shown, end="", soft_wrap=True)
    return console.export_svg(
        title="trio-broker top", theme=SVG_THEME, code_format=SVG_TEMPLATE, unique_id="top"
    )
