"""What the commands about sessions print for people, whole, against the files in golden/: a real daemon, one scene.

Renew them, and look at what changed in the diff:
TRIO_BROKER_RENEW=1 python -m pytest tests/behaviour/test_command_output.py
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from trio_broker import __version__
from trio_broker.cli.output import safe
from trio_broker.testing.processes.home import CONFIG, FAKE, Home, eventually

GOLDEN = Path(__file__).parent / "golden"
EVIL = "\x1b[2J\x1b]0:owned\x07\x9b"
SCENE = "think hm; plan; tool read it; say Grüße, 世界"
WORDS = {
    "status": ["status"],
    "sessions-list": ["sessions", "list"],
    "sessions-show": ["sessions", "show", "-s", "asks"],
    "sessions-history": ["sessions", "history", "-s", "done"],
    "queue-list": ["queue", "list", "-s", "asks"],
    "queue-nothing": ["queue", "list", "-s", "done"],
    "pending": ["pending"],
    "wait": ["wait", "-s", "done"],
    "wait-timeout": ["wait", "-s", "asks", "--timeout", "0.1"],
    "wait-text": ["wait", "-s", "done", "--since", "1", "--match", "Gr.*"],
    "watch": ["watch", "-s", "closed", "--since", "1"],
    "set": ["set", "-s", "done"],
    "logs": ["logs", "-s", "dead"],
    "compare": ["compare", "fake", "fake", f"say {EVIL}Grüße"],
    "cancel-nothing": ["cancel", "-s", "done"],
    "no-session": ["cancel", "-s", "nobody's"],
}
STEADY = (
    (re.compile(r"\b[0-9a-f]{32}\b"), "ID"),
    (re.compile(r"client-[0-9a-f]{8}"), "CLIENT"),
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"), "TIME"),
    (re.compile(r"\b\d+\.\ds\b|\b\d+m\d\ds\b"), "AGO"),
    (re.compile(r"(?<=_for: )[\d.]+|(?<=quiet_for: )[\d.]+"), "SECONDS"),
    (re.compile(r"(?<=pid )\d+|(?<=pid: )\d+|(?<= )\d{3,}(?= |$)", re.MULTILINE), "PID"),
    (re.compile(r"(?<=\S) {2,}"), "  "),  # columns are as wide as what was made steady
)


LOUD = f"""
[agents.loud]
command = {json.dumps([*FAKE, "--stderr", f"no key {EVIL}"])}
"""


@pytest.fixture(scope="module")
def scene() -> Iterator[Home]:
    """One session that is done, one that asks with two prompts behind, and one whose agent died."""
    with Home(CONFIG + LOUD) as home:
        place = str(home.path)
        assert home.run("prompt", SCENE, "-s", "done", "--cwd", place).returncode == 0
        assert (
            home.run("prompt", "ask edit it", "-s", "asks", "--no-wait", "--ask", "--cwd", place).returncode
            == 0
        )
        home.until("asks", "waiting")
        for id, text in (("first", "say next"), ("second", f"say {EVIL}")):
            home.run("prompt", text, "-s", "asks", "--no-wait", "--prompt-id", id, "--cwd", place)
        home.run("loud", "garbage; die 3", "-s", "dead", "--cwd", place)
        yield home


def steady(home: Home, text: str) -> str:
    text = text.replace(str(home.path), "/HOME").replace(__version__, "VERSION")
    for pattern, word in STEADY:
        text = pattern.sub(word, text)
    return text


def check(name: str, text: str) -> None:
    file = GOLDEN / f"{name}.txt"
    if os.environ.get("TRIO_BROKER_RENEW"):
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8"), (
        f"{file.name}: see the head of this module for how to renew"
    )


@pytest.mark.parametrize("name", WORDS)
def test_text_is_as_it_was(scene: Home, name: str) -> None:
    words = WORDS[name]
    eventually(lambda: scene.status()["clients"] == 1)  # the last command's connection has ended
    if name == "watch":  # it ends when the session does
        scene.run("prompt", f"{SCENE}; say {EVIL}", "-s", "closed", "--cwd", str(scene.path))
        with scene.start(*words) as process:
            eventually(lambda: scene.session("closed")["clients"] == 1)
            scene.run("sessions", "close", "-s", "closed")
            stdout, stderr = process.communicate(timeout=30)
        code = process.returncode
    else:
        done = scene.run(*words)
        stdout, stderr, code = done.stdout, done.stderr, done.returncode
    assert not {"\x1b", "\x07", "\x9b"} & {*stdout, *stderr}
    lines = sorted(stderr.splitlines()) if name == "compare" else stderr.splitlines()
    errors = "".join(f"{line}\n" for line in lines)
    check(
        name, steady(scene, f"$ {safe(' '.join(words))}\n{stdout}--- stderr\n{errors}--- exit code {code}\n")
    )
