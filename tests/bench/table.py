"""What a measure adds to: the rows of the table, and every value behind them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from tests.bench.peers import Peers
from tests.bench.tools import Tools, median

WEBSOCKET, UNIX = "trio-broker, WebSocket", "trio-broker, Unix socket"


@attrs.frozen
class Row:
    """One line of the table; `met` is None where there is nothing to be met."""

    measure: str
    target: str
    measured: str
    ratio: str = ""
    met: bool | None = None


@attrs.define
class Bench:
    tools: Tools
    peers: Peers
    rounds: int
    short: bool
    rows: list[Row] = attrs.field(factory=list)
    facts: dict[str, Any] = attrs.field(factory=dict)

    def add(self, measure: str, target: str, measured: str, ratio: str = "", met: bool | None = None) -> None:
        self.rows.append(Row(measure, target, measured, ratio, met))

    def size(self, full: int, short: int) -> int:
        return short if self.short else full


@attrs.define
class Series:
    """Values by name, one a round."""

    values: dict[str, list[float]] = attrs.field(factory=dict)

    def note(self, name: str, value: float) -> None:
        self.values.setdefault(name, []).append(value)

    def __getitem__(self, name: str) -> float:
        return median(self.values[name])

    def best(self, names: list[str], choose: Callable[[list[float]], float]) -> float | None:
        there = [self[name] for name in names if name in self.values]
        return choose(there) if there else None
