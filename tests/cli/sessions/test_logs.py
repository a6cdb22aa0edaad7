"""`logs`: the stderr of an agent, and its lines that are not messages."""

from __future__ import annotations

import json
import signal

from trio_broker.testing.processes.home import CONFIG, LIMIT, Home, fake_command_line

EVIL = "\x1b[2Jowned\x9b"


def test_logs_are_stderr_and_what_was_rejected(shared: Home) -> None:
    loud = fake_command_line("--stderr", f"starting {EVIL}")
    shared.run("prompt", "garbage; say hi", "-s", "loud", "--command", loud)
    found = shared.json("logs", "-s", "loud")
    assert (found["key"], found["stderr"], len(found["rejected"])) == ("loud", f"starting {EVIL}\n", 1)
    text = shared.run("logs", "-s", "loud").stdout
    assert text == ("starting \\x1b[2Jowned\\x9b\n[rejected] npm warn deprecated: this line is no JSON\n")
    assert shared.run("logs", "-s", "loud", "--format", "quiet").stdout == "starting \\x1b[2Jowned\\x9b\n"
    assert shared.run("logs", "-s", "nobody's").returncode == 4


def test_logs_follow_over_a_restart_of_the_agent(shared: Home) -> None:
    shared.run("sessions", "new", "-s", "follow", "--command", fake_command_line("--stderr", "up"))
    with shared.start("logs", "-s", "follow", "--follow", "--format", "json") as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline()) == {"stderr": "up\n", "rejected": []}
        shared.run("prompt", "garbage", "-s", "follow")
        assert len(json.loads(process.stdout.readline())["rejected"]) == 1
        shared.run("sessions", "restart", "-s", "follow")
        assert json.loads(process.stdout.readline()) == {"stderr": "up\n", "rejected": []}
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=LIMIT)
    assert process.returncode == 130 and "[agent] another process: " in stderr


def test_logs_follow_while_the_next_process_waits_for_the_end_of_the_last(shared: Home) -> None:
    """There is none then, and "another process: None" was told."""
    shared.run(
        "sessions", "new", "-s", "between", "--command", fake_command_line("--stderr", "up", "--ignore-eof")
    )
    with shared.start("logs", "-s", "between", "--follow", "--format", "quiet") as process:
        assert process.stdout is not None
        said = [process.stdout.readline()]
        shared.run("sessions", "restart", "-s", "between")
        said.append(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=LIMIT)
    assert said == ["up\n", "up\n"]
    assert stderr.split("\n")[:2] == [f"[agent] another process: {shared.session('between')['pid']}", ""]


def test_a_ring_of_no_bytes_keeps_none(home: Home) -> None:
    home.config.write_text(f"{CONFIG}\n[broker]\nstderr_ring = 0\n", encoding="utf-8")
    home.run("sessions", "new", "-s", "k", "--command", fake_command_line("--stderr", "words"))
    assert home.json("logs", "-s", "k")["stderr"] == ""
