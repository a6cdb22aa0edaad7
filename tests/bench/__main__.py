"""bin/bench: this project and its peers side by side, as a table for the README.

Every update that a client hears is checked for session and number: one that is lost, repeated, reordered or another
session's ends the bench with exit code 1. Times are medians over interleaved rounds; ratios are of one run.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.bench import peers
from tests.bench.growth import fan_out, many, replay, status
from tests.bench.measures import echo, isolation, throughput
from tests.bench.programs import cli, others
from tests.bench.table import Bench, Row
from tests.bench.tools import Failed, Tools

MEASURES: dict[str, Callable[[Bench], None]] = {
    "throughput": throughput,
    "echo": echo,
    "isolation": isolation,
    "status": status,
    "many": many,
    "fan-out": fan_out,
    "replay": replay,
    "cli": cli,
    "others": others,
}
MET = {True: "yes", False: "NO", None: ""}


def main() -> int:
    asked = _asked()
    try:
        if asked.peers:
            peers.install()
        with tempfile.TemporaryDirectory(prefix="tbb") as directory:
            return _bench(asked, Path(directory))
    except (Failed, subprocess.SubprocessError, OSError) as error:
        print(f"bench: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("bench: interrupted", file=sys.stderr)
        return 130
    return 1


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bin/bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--short", action="store_true", help="small numbers, under a minute: whether all of it works"
    )
    parser.add_argument(
        "--json", action="store_true", help="every value of every round, instead of the table"
    )
    parser.add_argument("--rounds", type=int, help="default: 5, with --short 1")
    parser.add_argument("--only", action="append", choices=list(MEASURES), help="repeatable")
    parser.add_argument(
        "--peers", action="store_true", help=f"install the peers that npm has into {peers.CACHE} first"
    )
    parser.add_argument(
        "--no-cc", action="store_true", help="agent and client in Python, as where there is no compiler"
    )
    parser.add_argument("--no-peers", action="store_true", help="this project alone")
    return parser.parse_args()


def _bench(asked: argparse.Namespace, directory: Path) -> int:
    found = peers.Peers()
    if asked.no_peers:
        found.servers, found.clients, found.acpx = {}, {}, None
    bench = Bench(
        Tools(directory, in_c=not asked.no_cc), found, asked.rounds or (1 if asked.short else 5), asked.short
    )
    begun = time.monotonic()
    failures = []
    for name in asked.only or MEASURES:
        print(f"bench: {name} ({time.monotonic() - begun:.0f} s)", file=sys.stderr)
        try:
            MEASURES[name](bench)
        except (Failed, subprocess.SubprocessError) as error:  # the others are worth knowing all the same
            failures.append(f"{name}: {error}")
    lost = "0" if not failures else "; ".join(failures)
    bench.add("updates lost, repeated or reordered, in any run", "0", lost, "", not failures)
    if asked.json:
        rows = [
            dict(zip(("measure", "target", "measured", "ratio", "met"), _cells(row), strict=True))
            for row in bench.rows
        ]
        print(
            json.dumps(
                {"machine": _machine(bench), "missing": found.missing, "rows": rows, "values": bench.facts}
            )
        )
    else:
        print("\n".join(_table(bench)))
    return 1 if failures else 0


def _cells(row: Row) -> tuple[str, str, str, str, str]:
    return row.measure, row.target, row.measured, row.ratio, MET[row.met]


def _table(bench: Bench) -> list[str]:
    lines = [_machine(bench), ""]
    if bench.tools.slow:
        lines += [
            "Without a C compiler: agent and client are in Python, and measure themselves above all.",
            "",
        ]
    if bench.peers.missing:
        lines += [f"Missing: {'; '.join(bench.peers.missing)}.", ""]
    lines += ["| measure | target | measured | ratio | met |", "|---|---|---|---|---|"]
    return lines + [f"| {' | '.join(_cells(row))} |" for row in bench.rows]


def _machine(bench: Bench) -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        model = next(
            line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")
        )
    except (OSError, StopIteration):
        model = platform.processor() or "?"
    load = os.getloadavg()[0]
    python = platform.python_version()
    return (
        f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} x {model}, Linux {platform.release()}, Python {python}, "
        f"{bench.rounds} rounds, load {load:.1f} at the end."
    )


if __name__ == "__main__":
    sys.exit(main())
