"""Wrong command lines end with exit code 2 and a sentence; they start nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from trio_broker.testing.processes.home import LIMIT, Home


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["promt"], "'promt' is neither a command nor an agent. Did you mean prompt?"),
        (["clade", "hi"], "Did you mean claude or "),
        (["status", "--nope"], "No such option"),
        (["sessions", "frobnicate"], "No such command"),
        (["prompt", "--format", "xml", "hi"], "'xml' is not one of"),
        (["prompt", "--timeout", "0", "hi"], "'--timeout': 0.0 is too little; write more than 0"),
        (
            ["prompt", "--timeout", "nan", "hi"],
            "'--timeout': 'nan' is no number; write one such as 30 or 2.5",
        ),
        (["wait", "--timeout", "0"], "'--timeout': 0.0 is too little; write more than 0"),
        (["down", "--timeout", "-1"], "'--timeout': -1.0 is too little; write 0 or more"),
        (["queue", "move", "4f1c", "0"], "'POSITION': 0 is too little; write 1 or more"),
        (["prompt", "--timeout", "1m", "hi"], "'--timeout': '1m' is no number; write one such as 30 or 2.5"),
        (["watch", "--since", "x"], "'--since': 'x' is no whole number; write one such as 3"),
        (["sessions", "close", "mine"], "unexpected extra argument (mine). A session is named with -s KEY."),
        (["agents", "list", "demo"], "argument (demo). `trio-broker agents show NAME` tells of one."),
        (["sessions", "list", "k"], "argument (k). `trio-broker sessions show -s KEY` tells of one."),
        (["status", "--url", "ws://x"], "--url stands before the command: `trio-broker --url … status`"),
        (["-a", "demo", "hi"], "No such option '-a'. Options of a command stand after it"),
        (["hi"], "neither a command nor an agent. A prompt of one word wants `trio-broker prompt WORD`"),
        (["exec", "--no-wait", "hi"], "--no-wait"),
        (["prompt", "-a", "nobody", "hi"], "there is no agent 'nobody'; known are"),
        (["prompt", "--cwd", "/no/such/place", "hi"], "--cwd: there is no directory /no/such/place"),
        (["sessions", "delete", "-s", ""], "-s is empty; leave it out for the session of this work tree"),
        (["prompt", "-a", " ", "hi"], "-a is empty; leave it out for the default one"),
        (["prompt", "--cwd", "", "hi"], "--cwd is empty; leave it out to work here"),
        (["prompt", "--command", "it's", "hi"], '--command: "it\'s" has no closing quotation'),
        (["prompt", "--command", " ", "hi"], "--command is empty"),
        (["--config", "/no/such/file", "fake", "hi"], "/no/such/file: there is no such file"),
    ],
)
def test_a_mistake_is_exit_2_and_told_without_starting_anything(
    home: Home, words: list[str], says: str
) -> None:
    done = home.run(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert not home.socket.exists()


def shell(home: Home, line: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The line in a shell, where `$T` is the command."""
    env = {**home.env, "T": f"{sys.executable} -m trio_broker"}
    argv = ["sh", "-c", line]
    return subprocess.run(
        argv, capture_output=True, encoding="utf-8", timeout=LIMIT, check=False, env=env, cwd=cwd
    )


@pytest.mark.parametrize(
    ("line", "code", "says"),
    [
        ("$T prompt hello <&-", 0, ""),
        ("$T prompt <&-", 2, "the prompt is empty"),
        ("$T sessions import - <&-", 1, "there is nothing to import"),
        ("$T prompt 'say hi' >&-", 0, ""),
        ("$T prompt 'say hi' 2>&-", 0, ""),
        ("$T status > /dev/full", 1, "No space left on device"),
        ("$T prompt 'say hi' > /dev/full", 1, "No space left on device"),
        (
            "mkdir gone; cd gone; rmdir ../gone; $T prompt 'say hi'",
            2,
            "the directory you are in is there no more",
        ),
        ("$T prompt --no-wait --timeout 5 'say hi'", 2, "--timeout is for a prompt that is waited for"),
    ],
)
def test_odd_places_to_be_called_from_end_in_a_sentence(
    shared: Home, tmp_path: Path, line: str, code: int, says: str
) -> None:
    """They ended in tracebacks; --timeout beside --no-wait was ignored."""
    done = shell(shared, line, tmp_path)
    assert (done.returncode, says in done.stderr, "Traceback" in done.stderr) == (code, True, False), (
        done.stderr
    )
