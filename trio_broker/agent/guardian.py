"""The guardian of one broker: when the broker vanishes, whatever way, it ends every process that carries its mark.

    python -P -S -E guardian.py INSTANCE        (stdin: a pipe that only the broker holds open)

The end of the pipe is the broker's end. One byte before it says that all is in order and there is nothing to do.
Standard library only, and of that little: it is there all the time, beside every broker.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType

PATIENCE = 5.0  # seconds: twice as long as the deadest process takes
PAUSE = 0.2


def main(instance: str) -> int:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    process_tags = (
        _load_process_tags()
    )  # now: an upgrade may have replaced or removed it when the broker ends
    if os.read(0, 1):
        return 0
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:  # again and again: one that was just being started may come late
        process_tags.end_all(lambda process: process.instance == instance, PATIENCE)
        time.sleep(PAUSE)
    return 0


def _load_process_tags() -> ModuleType:
    here = os.path.dirname(os.path.abspath(__file__))
    spec = spec_from_file_location("process_tags", os.path.join(here, "process_tags.py"))
    assert spec is not None and spec.loader is not None
    process_tags = module_from_spec(spec)
    spec.loader.exec_module(process_tags)
    return process_tags


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
