"""The watchdog ends a home whose test run has vanished, and leaves one alone whose run has ended in order."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from trio_broker.testing.processes import watchdog

WATCHDOG = [sys.executable, "-m", "trio_broker.testing.processes.watchdog"]
HOLDER = """
import fcntl, os, sys, time
file = open(sys.argv[1], "w")
fcntl.flock(file, fcntl.LOCK_EX)
print(os.getpid(), file=file, flush=True)
print("held", flush=True)
time.sleep(600)
"""


def test_at_the_end_of_its_stdin_it_ends_who_holds_the_lock_and_removes_the_home(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "run").mkdir(parents=True)
    argv = [sys.executable, "-c", HOLDER, str(home / "run" / "broker.lock")]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None and holder.stdout.readline() == "held\n"
            assert (
                subprocess.run([*WATCHDOG, str(home)], stdin=subprocess.DEVNULL, check=False).returncode == 0
            )
            assert holder.wait(60) == -9
        finally:
            holder.kill()
    assert not home.exists()


def test_it_leaves_a_home_alone_whose_run_says_that_all_is_in_order(tmp_path: Path) -> None:
    assert subprocess.run([*WATCHDOG, str(tmp_path)], input=b".", check=False).returncode == 0
    assert tmp_path.exists()


def test_there_is_nobody_to_end_where_no_lock_was_ever_held_or_its_holder_has_gone(tmp_path: Path) -> None:
    assert watchdog._daemon(str(tmp_path / "broker.lock")) is None
    with subprocess.Popen([sys.executable, "-S", "-c", ""]) as gone:
        pass
    watchdog._kill(gone.pid)
