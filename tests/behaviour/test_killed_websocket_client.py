"""A client over the WebSocket that is killed in mid-turn; what the command line says over it."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator

import pytest

from trio_broker.testing.processes.home import CONFIG, LIMIT, Home, eventually

pytestmark = pytest.mark.process

LISTEN = '\n[listen]\nwebsocket = "127.0.0.1:0"\n'


@pytest.fixture
def home() -> Iterator[Home]:
    with Home(CONFIG + LISTEN) as home:
        yield home


def remote(home: Home, *scopes: str, name: str = "phone") -> list[str]:
    """The words that say to go over the WebSocket, with a new token of these scopes."""
    flags = [word for scope in scopes for word in ("--scope", scope)]
    made = home.json("token", "new", "--name", name, *flags, "--root", "/tmp")
    return ["--url", home.status()["websocket"], "--token", made["token"]]


def numbered(stdout: str) -> list[int]:
    """The numbers that an agent counted out loud."""
    return [int(word) for word in stdout.split() if word.isdecimal()]


def test_a_client_that_is_killed_in_mid_turn_leaves_the_turn_and_comes_back_by_number(home: Home) -> None:
    over = remote(home, "prompt")
    text = "; ".join(f"say {number} ; wait 0.05" for number in range(40)) + "; title counted; hang"
    with home.start(*over, "prompt", text, "-s", "k", "--format", "json", cwd="/tmp") as client:
        eventually(lambda: (home.session("k") or {}).get("events", 0) > 8)
        os.kill(client.pid, signal.SIGKILL)
        client.communicate(timeout=LIMIT)
    seen = home.session("k")
    assert seen["phase"] == "working", "the turn goes on"
    words = ("watch", "-s", "k", "--format", "json", "--since")
    with home.start(*over, *words, "1") as early, home.start(*over, *words, "20") as late:
        eventually(lambda: home.session("k")["clients"] == 2 and home.session("k")["title"] == "counted")
        assert home.run("cancel", "-s", "k").returncode == 0
        home.until("k", "idle")
        last = home.session("k")["events"]
        assert home.run("sessions", "close", "-s", "k").returncode == 0
        heard = [process.communicate(timeout=LIMIT)[0] for process in (early, late)]
    for output, since in zip(heard, (1, 20), strict=True):
        chunks = [line for line in output.splitlines() if "agent_message_chunk" in line]
        numbers = [int(json.loads(line)["params"]["update"]["content"]["text"]) for line in chunks]
        assert numbers == sorted(numbers) and numbers[-1] == 39 and last >= 41
        assert (len(numbers) == 40) is (since == 1)


def test_a_token_is_shown_once_listed_without_its_text_and_revoked(home: Home) -> None:
    done = home.run("token", "new", "--name", "bob", "--scope", "observe", "--expires", "30d")
    assert done.returncode == 0 and done.stdout.startswith("tb_") and done.stdout.count("\n") == 1
    secret = done.stdout.strip()
    assert "It is not shown again" in done.stderr and secret not in done.stderr
    listed = home.run("token", "list")
    assert "bob" in listed.stdout and "observe" in listed.stdout and secret not in listed.stdout
    url = ["--url", home.status()["websocket"], "--token", secret]
    assert home.run(*url, "status").returncode == 0
    refused = home.run(*url, "prompt", "hi", "-s", "k", cwd="/tmp")
    assert refused.returncode == 5 and "--scope prompt" in refused.stderr, refused.stderr
    assert home.run("token", "revoke", "bob").returncode == 0
    gone = home.run(*url, "status")
    assert gone.returncode == 6 and "401: a token" in gone.stderr and secret not in gone.stderr
    for file in (home.path / "state").rglob("*"):
        assert not file.is_file() or secret.encode() not in file.read_bytes(), file


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["new", "--name", "a b", "--scope", "admin"], "can't be a token's name"),
        (["new", "--name", "x"], "--scope"),
        (["new", "--name", "x", "--scope", "prompt", "--root", "/none"], "there is no directory /none"),
        (["new", "--name", "x", "--scope", "prompt", "--expires", "soon"], "soon"),
        (["revoke", "nobody"], "`trio-broker token list` shows all"),
    ],
)
def test_what_makes_no_token_says_why(home: Home, words: list[str], says: str) -> None:
    done = home.run("token", *words)
    assert done.returncode == 2 and says in done.stderr and done.stdout == "", done
