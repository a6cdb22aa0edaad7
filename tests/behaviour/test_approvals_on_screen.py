"""A person sees the diff before the answer, near and far, at 80x24, with hostile text in it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from trio_broker.testing.clients.user import open_user
from trio_broker.testing.processes.home import CONFIG, Home
from trio_broker.testing.processes.terminal_emulator import TerminalEmulator
from trio_broker.transport.connect import connect_websocket

HOSTILE = "\x1b[2J\x1b[H\u202egnp.exe \u200b  1  y  allow once  Harmless"
SHOWN = "\\x1b[2J\\x1b[H\\u202egnp.exe \\u200b  1  y  allow once  Harmless"
DIFF = {
    "type": "diff",
    "path": "/repo/greet.py",
    "oldText": "".join(f"line {number}\n" for number in range(200)),
    "newText": "".join(f"line {number}\n" for number in range(200)).replace("line 100\n", f"{HOSTILE}\n"),
}
CALL = {"title": "Edit greet.py", "kind": "edit", "content": [DIFF]}


def script() -> str:
    """Announce the call with its diff, then ask with the id alone."""
    announced = json.dumps({"sessionUpdate": "tool_call", "toolCallId": "call-9", **CALL})
    return f'tool-raw {announced}; ask-raw {{"toolCallId": "call-9"}}'


@pytest.fixture(scope="module")
def home() -> Iterator[Home]:
    with Home(CONFIG + '\n[listen]\nwebsocket = "127.0.0.1:0"\n') as home:
        home.run("up")
        yield home


@pytest.fixture(scope="module")
def token(home: Home, tmp_path_factory: pytest.TempPathFactory) -> str:
    scopes = ("--scope", "prompt", "--scope", "answer", "--root", str(tmp_path_factory.getbasetemp()))
    text: str = home.json("token", "new", "--name", "far", *scopes)["token"]
    return text


@pytest.mark.parametrize("far", [False, True], ids=["unix", "websocket"])
def test_the_diff_stands_above_the_choices_in_the_terminal_of_a_prompt(
    home: Home, token: str, tmp_path: Path, far: bool
) -> None:
    where = ("--url", home.status()["websocket"], "--token", token) if far else ()
    words = (*where, "prompt", "-s", f"far{far}", "--cwd", str(tmp_path), script())
    with TerminalEmulator(home.env, *words, columns=80, lines=24, NO_COLOR="1") as window:
        window.see("everybody >")
        rows = [row.rstrip() for row in window.text.split("\n")]
        added = next(at for at, row in enumerate(rows) if row.startswith(f"│ +{SHOWN[:40]}"))
        removed = rows.index("│ -line 100")
        choices = [
            at for at, row in enumerate(rows) if row.startswith(("  1  y  allow once", "  3  n  reject once"))
        ]
        assert removed < added < choices[0] and len(choices) == 2
        assert "\u202e" not in window.text and "\u200b" not in window.text
        window.type("n")
        window.see("[done] end_turn")


async def test_the_diff_is_in_the_request_that_a_client_gets_over_a_websocket(
    home: Home, token: str, tmp_path: Path
) -> None:
    asked = trio.Event()

    async def on_request(message: object) -> object:
        asked.set()
        await trio.lowlevel.checkpoint()
        return {"outcome": {"outcome": "selected", "optionId": "reject"}}

    with trio.fail_after(60):
        async with (
            connect_websocket(home.status()["websocket"], token) as transport,
            open_user(transport, on_request) as user,
        ):
            await user.call("initialize", protocolVersion=1)
            result = await user.call("session/new", cwd=str(tmp_path), mcpServers=[])
            await user.prompt(result["sessionId"], script())
            assert asked.is_set()
            (request,) = user.asked()
            assert request["toolCall"] == {"toolCallId": "call-9", **CALL}
