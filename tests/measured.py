"""Whether every module is measured well enough: `just coverage` gives it what `coverage json` wrote.

Names what falls short and ends with 1 if there is any; an exception that is not needed any more falls short as well.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from fnmatch import fnmatch

EXACT = (  # what a turn, a log or a message hangs on: every line, and every branch of it
    "trio_broker/protocol/*.py",
    "trio_broker/broker/sessions.py",
    "trio_broker/session/turn_queue.py",
    "trio_broker/journal/log.py",
    "trio_broker/auth/policy.py",
)
LEAST = 90.0  # percent of lines and branches, of every other module
EXCEPTIONS: dict[str, str] = {  # path to the reason why it can't be measured
    "trio_broker/testing/agent.py": "one line is for a start by its path, when it is no module of the package",
}


def short(found: Mapping[str, float], exceptions: Mapping[str, str]) -> Iterator[str]:
    """A sentence for each module whose percentage is too low, and for each exception without a reason to be."""
    for path, percent in sorted(found.items()):
        wanted = 100.0 if any(fnmatch(path, pattern) for pattern in EXACT) else LEAST
        if percent < wanted and path not in exceptions:
            yield f"{path}: {percent:.1f} %, and {wanted:g} % are wanted; look at `coverage report -m`"
        elif percent >= wanted and path in exceptions:
            yield f"{path}: {percent:.1f} % are enough; take it out of the exceptions in {__file__}"
    for path in sorted(exceptions.keys() - found.keys()):
        yield f"{path}: is not there; take it out of the exceptions in {__file__}"
    for pattern in EXACT:
        if not any(fnmatch(path, pattern) for path in found):
            yield f"{pattern}: no such module was measured; mend EXACT in {__file__}"


def main() -> int:
    files = json.load(sys.stdin)["files"]
    faults = list(
        short({path: file["summary"]["percent_covered"] for path, file in files.items()}, EXCEPTIONS)
    )
    for fault in faults:
        print(fault, file=sys.stderr)
    print(f"{len(files)} modules measured, {len(faults)} fall short")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
