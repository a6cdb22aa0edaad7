"""Numbers on a command line: of seconds, or of minutes."""

from __future__ import annotations

import math
from typing import Any

import click


class Number(click.FloatRange):
    """What people count as a number: not `nan`, which Python takes for one, and every range lets in."""

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> float:
        number: float = super().convert(value, param, context)
        if math.isnan(number):
            self.fail(f"{value!r} is not a valid float.", param, context)
        return number


ABOVE_ZERO = Number(min=0, min_open=True)
FROM_ZERO = Number(min=0)
