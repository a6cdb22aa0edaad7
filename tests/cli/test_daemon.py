"""How a daemon comes and goes: by the first prompt, by `up`, by `serve`; and what `down` leaves, which is nothing."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import signal
import stat
import subprocess
from pathlib import Path

import pytest
import trio
from click.testing import CliRunner

from trio_broker.cli.app import cli
from trio_broker.cli.background import await_end
from trio_broker.errors import BrokerError
from trio_broker.paths import Paths
from trio_broker.testing.processes.home import (
    CONFIG,
    LIMIT,
    Home,
    eventually,
    is_running,
    without_start_progress,
)


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
        await_end(paths, ["1", "first"], patience=LIMIT)
        with pytest.raises(BrokerError, match="has not ended within 0 s"):
            await_end(paths, ["2", "next"], patience=0)
    await_end(paths, ["2", "next"], patience=LIMIT)


def test_up_twice_and_down_twice(home: Home) -> None:
    first, pid = home.run("up"), home.status()["pid"]
    again = home.run("up")
    assert (first.returncode, again.returncode) == (0, 0)
    assert "a broker already serves" in again.stderr and home.status()["pid"] == pid
    assert home.run("down").stderr == "the broker has ended, and its agents with it\n"
    assert "nothing to stop" in home.run("down").stderr
    assert not home.socket.exists()


def test_down_ends_sessions_at_work_and_their_children(home: Home, tmp_path: Path) -> None:
    child = int(home.run("prompt", "fork-child", "--format", "quiet", cwd=tmp_path).stdout)
    home.run("prompt", "hang-hard", "--no-wait", cwd=tmp_path)
    pids = [home.status()["pid"], *(view["pid"] for view in home.status()["sessions"]), child]
    assert all(is_running(pid) for pid in pids)
    assert home.json("down") == {"action": "broker_stopped", "socket": str(home.socket), "kept": 0}
    eventually(lambda: not any(is_running(pid) for pid in pids))


def test_what_is_queued_and_waited_for_by_nobody_runs_after_down_and_up(home: Home, tmp_path: Path) -> None:
    home.run("sessions", "new", "-s", "k", cwd=tmp_path)
    with home.start("prompt", "-s", "k", "hang", cwd=tmp_path) as running:
        eventually(lambda: home.status()["sessions"][0]["phase"] == "working")
        home.run("prompt", "-s", "k", "say later", "--no-wait", "--prompt-id", "later", cwd=tmp_path)
        with home.start("prompt", "-s", "k", "say never", cwd=tmp_path) as waiting:
            eventually(lambda: home.status()["sessions"][0]["queue"] == 2)
            told = "the broker has ended, and its agents with it; 1 queued prompt is kept and runs after the next start"
            assert home.run("down").stderr == f"{told}\n"
            words = [process.communicate(timeout=LIMIT)[1] for process in (running, waiting)]
    assert "the broker stops; session 'k' is kept and can be resumed" in words[0]
    assert "the prompt 'say never' was never sent to the agent: the broker stops;" in words[1]
    assert (running.returncode, waiting.returncode) == (1, 1)
    home.run("up")
    assert home.run("wait", "-s", "k", "--prompt-id", "later", "--timeout", "20").returncode == 0
    told = home.run("sessions", "history", "-s", "k").stdout
    assert "never sent" in told and told.rstrip().endswith("end_turn"), told


def test_a_home_that_is_relative_is_the_same_to_the_daemon(home: Home) -> None:
    """It begins in another directory: it had made its home there, and whoever started it waited in vain."""
    where = {"cwd": home.path.parent, "env": {"TRIO_BROKER_HOME": home.path.name}}
    done = home.run("up", **where)
    assert done.returncode == 0, done.stderr
    assert home.status()["home"] == str(home.socket.parent)
    assert "up" in home.run("status", **where).stdout


def test_a_broker_whose_runtime_directory_is_gone_is_not_joined_by_another(
    home: Home, tmp_path: Path
) -> None:
    """As after a logout: the second one ended the agents of the first, and wrote the same journal (RACES B17)."""
    home.run("prompt", "-s", "k", "--no-wait", "hang", cwd=tmp_path)
    home.until("k", "working")
    agent, [pid, _] = home.session("k")["pid"], home.socket.with_name("broker.lock").read_text().split()
    shutil.rmtree(home.socket.parent)
    done = home.run("serve")
    assert done.returncode == 1
    assert f"a broker (pid {pid}) already serves" in done.stderr and "trio-broker down" in done.stderr
    assert "0 orphans, 0 ended" in home.run("orphans", "--end").stderr and is_running(agent)
    done = home.run("down")
    assert done.returncode == 0 and f"a broker (pid {pid}) lives" in done.stderr, done.stderr
    eventually(lambda: not is_running(int(pid)) and not is_running(agent))
    assert home.run("up").returncode == 0
    assert home.session("k")["phase"] == "suspended"


def test_a_broker_whose_socket_is_gone_can_be_ended(home: Home) -> None:
    home.run("up")
    pid = home.status()["pid"]
    home.socket.unlink()
    assert home.run("down").returncode == 0
    eventually(lambda: not is_running(pid))
    assert home.run("up").returncode == 0


def test_a_second_daemon_is_one_too_many(home: Home) -> None:
    """RACES B17."""
    home.run("up")
    pid = home.status()["pid"]
    done = home.run("serve")
    assert done.returncode == 1
    assert f"a broker (pid {pid}) already serves" in done.stderr and "trio-broker down" in done.stderr
    assert home.status()["pid"] == pid


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_serve_in_the_foreground_ends_with_a_signal(home: Home, number: signal.Signals) -> None:
    with home.start("serve") as daemon:
        eventually(home.socket.exists)
        home.run("prompt", "hang", "--no-wait")
        pid = home.status()["sessions"][0]["pid"]
        daemon.send_signal(number)
        stdout, stderr = daemon.communicate(timeout=LIMIT)
    assert (daemon.returncode, stdout) == (0, ""), stderr
    assert "Traceback" not in stderr
    assert not is_running(pid) and not home.socket.exists()


def test_a_daemon_killed_by_force_is_replaced_by_the_next_prompt(home: Home) -> None:
    """What it left, a socket and a lock file, keeps nobody out."""
    home.run("up")
    pid = home.status()["pid"]
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not is_running(pid))
    assert home.socket.exists()
    assert home.run("prompt", "say back", "--format", "quiet").stdout == "back\n"


def test_a_broken_configuration_is_told_at_once_and_starts_nothing(home: Home) -> None:
    home.config.write_text('[broker]\nqueue = "many"\nmax_sesions = 3\n', encoding="utf-8")
    for words in (["prompt", "hi"], ["up"], ["sessions", "new"], ["acp"]):
        done = home.run(*words)
        assert (done.returncode, done.stdout) == (2, "")
        assert f"{home.config}: broker.queue: expected a whole number, not a string 'many'" in done.stderr
        assert f"{home.config}: broker.max_sesions: unknown key; did you mean max_sessions?" in done.stderr
    assert not home.socket.exists()


def test_a_configuration_that_breaks_later_does_not_keep_the_daemon_from_being_looked_at(home: Home) -> None:
    home.run("up")
    home.config.write_text("[broker\n", encoding="utf-8")
    assert home.run("status").returncode == 0
    assert home.run("down").returncode == 0


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


def test_a_home_with_too_long_a_path_is_told_with_a_way_out(home: Home, tmp_path: Path) -> None:
    done = home.run("status", env={"TRIO_BROKER_HOME": str(tmp_path / ("x" * 100))})
    assert done.returncode == 2
    assert "set TRIO_BROKER_HOME" in done.stderr and "shorter path" in done.stderr


def test_another_configuration_file_by_option_and_by_variable(home: Home, tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text(
        CONFIG.replace("agents.fake", "agents.mine").replace('"fake"', '"mine"'), encoding="utf-8"
    )
    assert home.run("--config", str(other), "mine", "say hi").stdout.startswith("hi\n")
    assert home.status()["sessions"][0]["agent"] == "mine"  # the daemon was started with it
    by_variable = home.run("config", "show", env={"TRIO_BROKER_CONFIG": str(other)})
    assert 'default_agent = "mine"' in by_variable.stdout


def test_a_broker_that_fails_says_in_its_log_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(*_: object) -> None:
        await trio.lowlevel.checkpoint()
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("trio_broker.listen.listen", fail)
    monkeypatch.setattr("trio_broker.memory.collect_seldom", lambda: None)
    monkeypatch.setenv("TRIO_BROKER_HOME", str(tmp_path))
    done = CliRunner().invoke(cli, ["serve"])
    assert isinstance(done.exception, OSError)
    assert "in fail" in caplog.text and "Too many open files" in caplog.text
