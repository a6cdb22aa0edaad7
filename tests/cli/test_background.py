"""The daemon in the background: one at a time, whoever starts it, and waits for its start and end."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import stat
import subprocess
from pathlib import Path

import pytest

from trio_broker.cli.background import wait_ended
from trio_broker.config.paths import Paths
from trio_broker.errors import BrokerError
from trio_broker.testing.processes.home import LIMIT, Home, eventually, is_running, without_start_progress


def test_a_broker_that_an_agent_starts_is_not_the_agents(home: Home) -> None:
    marked = {"TRIO_BROKER_INSTANCE": "0123456789abcdef-x", "TRIO_BROKER_SESSION": "k"}
    assert home.run("up", env=marked).returncode == 0
    environment = Path(f"/proc/{home.status()['pid']}/environ").read_bytes()
    assert b"TRIO_BROKER_HOME=" in environment and not any(name.encode() in environment for name in marked)


def test_the_first_prompt_starts_a_daemon_that_stays(home: Home, tmp_path: Path) -> None:
    assert home.run("say hello there", cwd=tmp_path).stdout == "hello there\n[done] end_turn\n"
    pid = home.status()["pid"]
    assert is_running(pid) and os.getsid(pid) == pid and os.readlink(f"/proc/{pid}/cwd") == "/"
    assert stat.S_IMODE(home.socket.stat().st_mode) == 0o600
    assert stat.S_IMODE(home.socket.parent.stat().st_mode) == 0o700


def test_five_first_prompts_at_once_start_one_daemon(home: Home, tmp_path: Path) -> None:
    """RACES B17: all find none, all start one; one holds the lock, and all five are served by it."""
    processes = [
        home.start("prompt", "pid", "-s", f"{n}", "--format", "quiet", cwd=tmp_path) for n in range(5)
    ]
    answers = [process.communicate(timeout=LIMIT) for process in processes]
    assert [process.returncode for process in processes] == [0] * 5, answers
    assert len({stdout for stdout, _ in answers}) == 5
    assert {without_start_progress(stderr) for _, stderr in answers} == {""}
    status = home.status()
    assert sorted(view["key"] for view in status["sessions"]) == ["0", "1", "2", "3", "4"]
    assert home.log.count("Ctrl-C ends it") == 1


def test_one_key_raced_for_by_five_prompts_has_one_agent(home: Home, tmp_path: Path) -> None:
    """RACES B1, over processes and a daemon that is not there yet."""
    processes = [home.start("prompt", "pid", "--format", "quiet", cwd=tmp_path) for _ in range(5)]
    answers = {process.communicate(timeout=LIMIT)[0] for process in processes}
    assert len(answers) == 1
    assert len(home.status()["sessions"]) == 1


# Python runs it in every process that has it on its path: a daemon says that it is there, and waits.
SLOW = """
import os, pathlib, sys, time
if "serve" in sys.orig_argv:
    place = pathlib.Path(os.environ["SLOW"])
    place.joinpath(f"here-{os.getpid()}").touch()
    deadline = time.monotonic() + 14
    while not place.joinpath("go").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
"""


class Slow:
    """Daemons that come to be and begin when they are told."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.joinpath("sitecustomize.py").write_text(SLOW, encoding="utf-8")
        self.env = {"PYTHONPATH": str(path), "SLOW": str(path)}

    def pids(self) -> list[int]:
        return [int(path.name.partition("-")[2]) for path in self.path.glob("here-*")]

    def go(self) -> None:
        self.path.joinpath("go").touch()


def _has_ended(process: subprocess.Popen[str]) -> bool:
    """Within a second: for what is to wait, and would have ended before if it did not."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(1)
    return process.poll() is not None


def test_while_one_daemon_starts_nobody_starts_another(home: Home, tmp_path: Path) -> None:
    """The slower one came to the lock when the faster one had served and ended: `down` left a broker (RACES B17)."""
    slow = Slow(tmp_path)
    with home.start("up", env=slow.env) as first:
        eventually(slow.pids)
        with home.start("up") as second:
            assert not _has_ended(second)
            slow.go()
            assert [process.wait(LIMIT) for process in (first, second)] == [0, 0]
    assert [home.status()["pid"]] == slow.pids()
    assert home.log.count("Ctrl-C ends it") == 1 and "already serves" not in home.log


def test_down_waits_for_a_daemon_that_starts(home: Home, tmp_path: Path) -> None:
    """It said that there was nothing to stop, and then there was: whoever had started it is long gone."""
    slow = Slow(tmp_path)
    with home.start("up", env=slow.env) as first:
        eventually(slow.pids)
        first.kill()
        with home.start("down") as down:
            assert not _has_ended(down)
            slow.go()
            assert down.communicate(timeout=LIMIT)[1] == "the broker has ended, and its agents with it\n"
    assert not any(is_running(pid) for pid in slow.pids())


def test_a_broker_that_is_about_to_end_is_waited_for(home: Home) -> None:
    """Its socket is gone, its lock not yet: the next one was started, found it held, and was said not to start."""
    home.socket.parent.mkdir(mode=0o700)
    with home.socket.with_name("broker.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with home.start("up") as up:
            assert not _has_ended(up)
            fcntl.flock(lock, fcntl.LOCK_UN)
            assert up.wait(LIMIT) == 0


def test_a_daemon_that_ends_before_it_serves_is_not_said_to_serve(home: Home, tmp_path: Path) -> None:
    """Told to end while it began, say: its exit code is 0."""
    ends = 'import os, sys\nif "serve" in sys.orig_argv:\n    os._exit(0)\n'
    tmp_path.joinpath("sitecustomize.py").write_text(ends, encoding="utf-8")
    done = home.run("up", env={"PYTHONPATH": str(tmp_path)})
    assert done.returncode == 6 and "the broker did not start" in done.stderr


def test_down_does_not_wait_for_the_next_broker(tmp_path: Path) -> None:
    """It took the one that somebody started at once for the one that it had told to end."""
    paths = Paths.from_env({"TRIO_BROKER_HOME": str(tmp_path)})
    paths.runtime.mkdir()
    with paths.lock.open("w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write("2\nnext\n")
        lock.flush()
        wait_ended(paths, ["1", "first"], timeout=LIMIT)
        with pytest.raises(BrokerError, match="has not ended within 0 s"):
            wait_ended(paths, ["2", "next"], timeout=0)
    wait_ended(paths, ["2", "next"], timeout=LIMIT)


def test_a_home_that_is_relative_is_the_same_to_the_daemon(home: Home) -> None:
    """It begins in another directory: it had made its home there, and whoever started it waited in vain."""
    where = {"cwd": home.path.parent, "env": {"TRIO_BROKER_HOME": home.path.name}}
    done = home.run("up", **where)
    assert done.returncode == 0, done.stderr
    assert home.status()["home"] == str(home.socket.parent)
    assert "up" in home.run("status", **where).stdout


def test_a_daemon_killed_by_force_is_replaced_by_the_next_prompt(home: Home) -> None:
    """What it left, a socket and a lock file, keeps nobody out."""
    home.run("up")
    pid = home.status()["pid"]
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not is_running(pid))
    assert home.socket.exists()
    assert home.run("prompt", "say back", "--format", "quiet").stdout == "back\n"


def test_a_daemon_that_can_not_start_is_exit_6_with_its_own_words(home: Home) -> None:
    (home.path / "run").write_text("in the way", encoding="utf-8")
    done = home.run("prompt", "hi")
    (home.path / "run").unlink()
    assert done.returncode == 6
    assert f"the broker did not start (its log: {home.path / 'state' / 'broker.log'})" in done.stderr
    assert f"{home.path / 'run'} can't be made" in done.stderr and "Traceback" not in done.stderr


def test_a_log_that_can_not_be_written_is_told(home: Home) -> None:
    (home.path / "state").write_text("in the way", encoding="utf-8")
    done = home.run("up")
    assert done.returncode == 6
    assert "the broker can't write" in done.stderr and "set TRIO_BROKER_HOME" in done.stderr
