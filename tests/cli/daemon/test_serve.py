"""`serve`, `up` and `down`: how the daemon ends, and that `down` leaves no process."""

from __future__ import annotations

import errno
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
import trio
from click.testing import CliRunner

from trio_broker.cli.app import cli
from trio_broker.testing.processes.home import LIMIT, Home, eventually, is_running


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


def test_a_broker_that_fails_says_in_its_log_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(*_: object) -> None:
        await trio.lowlevel.checkpoint()
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("trio_broker.daemon.run_daemon", fail)
    monkeypatch.setattr("trio_broker.ioutil.tune_gc", lambda: None)
    monkeypatch.setenv("TRIO_BROKER_HOME", str(tmp_path))
    done = CliRunner().invoke(cli, ["serve"])
    assert isinstance(done.exception, OSError)
    assert "in fail" in caplog.text and "Too many open files" in caplog.text


def test_down_with_drain_lets_a_turn_end(home: Home) -> None:
    words = ("prompt", "ask edit it; say done", "-s", "k", "--ask", "--format", "quiet")
    with home.start(*words) as process:
        home.until("k", "waiting")
        with home.start("down", "--drain", stdin=subprocess.DEVNULL) as down:
            eventually(lambda: home.status()["draining"])
            refused = home.run("prompt", "say no", "-s", "k")
            assert (
                refused.returncode == 1 and "draining: it stops when all turns have ended" in refused.stderr
            )
            assert "\nit drains: it stops when every turn has ended" in home.run("status").stdout
            assert home.run("allow").returncode == 0
            stdout, _ = process.communicate(timeout=LIMIT)
            _, stderr = down.communicate(timeout=LIMIT)
    assert (process.returncode, stdout) == (0, "allowdone\n")
    assert (down.returncode, stderr) == (0, "the broker has ended, and its agents with it\n")


def test_a_drain_that_takes_too_long_ends_what_runs(home: Home) -> None:
    home.run("prompt", "hang", "-s", "k", "--no-wait")
    done = home.run("down", "--drain", "--timeout", "0.3")
    assert done.returncode == 0
    assert done.stderr.startswith("some turns have not ended within 0.3 s (--timeout): they are ended now\n")
