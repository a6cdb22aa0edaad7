"""A broker's home: the commands that run in it, terminals, and that nothing of it is left."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys

from trio_broker.testing.processes.home import (
    FAKE,
    Home,
    Terminal,
    fake_command_line,
    is_running,
    without_start_progress,
)


def test_a_home_without_a_daemon_is_only_a_directory() -> None:
    with Home() as home:
        assert home.run("--version").returncode == 0
        assert home.session("k") is None and home.log == ""
        assert home.path.exists()
    assert not home.path.exists()


def test_leaving_ends_the_daemon_and_its_agents() -> None:
    with Home() as home:
        assert home.run("prompt", "-s", "k", "say hello", "--format", "quiet").stdout == "hello\n"
        home.until("k", "idle")
        pids = [home.status()["pid"], home.session("k")["pid"]]
        assert all(map(is_running, pids)) and home.json("status")["sessions"][0]["key"] == "k"
    assert not any(map(is_running, pids)) and not home.path.exists()


def test_what_the_environment_says_of_another_broker_is_not_in_it() -> None:
    os.environ["TRIO_BROKER_TOKEN_OF_A_TEST"] = "x"
    try:
        home = Home(OTHER="y")
        assert "TRIO_BROKER_TOKEN_OF_A_TEST" not in home.env and home.env["OTHER"] == "y"
        assert home.env["TRIO_BROKER_HOME"] == str(home.path)
    finally:
        del os.environ["TRIO_BROKER_TOKEN_OF_A_TEST"]
    with home:
        pass


def test_a_terminal_shows_what_is_written_and_ctrl_c_is_a_signal() -> None:
    script = "print('ready', flush=True); print(input()[::-1], flush=True); input()"
    with Terminal([sys.executable, "-c", script], os.environ) as terminal:
        terminal.see("ready")
        terminal.type("abc\n")
        terminal.see("cba")
        terminal.ctrl_c()
        assert terminal.end() in (1, -2, 130)
        assert "KeyboardInterrupt" in terminal.screen


def test_a_zombie_is_not_running() -> None:
    with subprocess.Popen([sys.executable, "-S", "-c", ""]) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert not is_running(child.pid)
    assert is_running(os.getpid()) and not is_running(child.pid)


def test_lines_about_a_slow_start_are_left_out() -> None:
    assert without_start_progress("[starting] fake\nerror\n[starting] done\n") == "error\n"


def test_the_command_line_of_the_scripted_agent_is_quoted() -> None:
    assert shlex.split(fake_command_line("--name", "a b")) == [*FAKE, "--name", "a b"]
