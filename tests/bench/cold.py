"""How long short commands take as whole processes, against `python -c "import trio"` in the same run.

    .venv/bin/python tests/bench/cold.py [RUNS]

Prints, for each command, the median of user and system seconds, and the median of its ratio to the import, taken pair
by pair, as machines drift. The broker has 20 sessions, each in the middle of a turn.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys

from trio_broker.testing.processes.home import TRIO_BROKER, Home

RUNS = 15
SESSIONS = 20
YARDSTICK = [sys.executable, "-c", "import trio"]
COMMANDS = (
    ("--version",),
    ("--help",),
    ("status",),
    ("status", "--format", "json"),
    ("pending",),
    ("sessions", "list"),
)


def cpu(argv: list[str], env: dict[str, str]) -> float:
    """User and system seconds of one whole process, which has to succeed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(argv, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(words: tuple[str, ...], env: dict[str, str], runs: int) -> tuple[float, float, float]:
    """Medians: of the command, of the yardstick, and of their ratio."""
    pairs = [(cpu([*TRIO_BROKER, *words], env), cpu(YARDSTICK, env)) for _ in range(runs)]
    ours, theirs = zip(*pairs, strict=True)
    ratio = statistics.median(one / other for one, other in pairs)
    return statistics.median(ours), statistics.median(theirs), ratio


def main(runs: int) -> None:
    with Home() as home:
        home.run("up")
        for number in range(SESSIONS):
            home.run("prompt", "wait 600", "-s", f"busy {number}", "--no-wait")
            home.until(f"busy {number}", "working")
        print(f"{'command':24} {'cpu s':>7} {'import trio':>12} {'ratio':>6}")
        for words in COMMANDS:
            ours, theirs, ratio = measure(words, home.env, runs)
            print(f"{' '.join(words):24} {ours:7.3f} {theirs:12.3f} {ratio:6.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else RUNS)
