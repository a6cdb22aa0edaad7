"""What the scripted agent does, asked and unasked, over real pipes and with real files and commands."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from trio_broker.testing.processes.agent_process import (
    Json,
    open_scripted_agent,
    said,
    stop_reason,
    updates,
)
from trio_broker.testing.processes.home import eventually, is_running

Validator = Callable[[str], Draft202012Validator]
REFUSED: Json = {"error": {"code": -32601, "message": "no such method"}}


def choose(option: str) -> Callable[[Json], Json]:
    """The answer of a person who takes this option."""
    return lambda _: {"result": {"outcome": {"outcome": "selected", "optionId": option}}}


def tool_updates(messages: list[Json]) -> list[Json]:
    return [one for one in updates(messages) if one["sessionUpdate"].startswith("tool_call")]


@pytest.mark.parametrize(
    ("command", "output", "status", "how"),
    [
        ("echo one && echo two >&2", "one\ntwo\n", "completed", "exit code 0"),
        ("pwd && exit 3", "{}\n", "failed", "exit code 3"),
        ("kill -9 $$", "signal SIGKILL", "failed", "signal SIGKILL"),
        ("cat", "exit code 0", "completed", "exit code 0"),
    ],
)
def test_a_command_is_run_unasked(
    command: str, output: str, status: str, how: str, tmp_path: Path, validator: Validator
) -> None:
    with open_scripted_agent() as agent:
        agent.start(str(tmp_path))
        messages = agent.turn(f"run {command}")
    for message in messages[:-1]:
        validator("SessionNotification").validate(message["params"])
    announced, running, done = tool_updates(messages)
    assert (announced["kind"], announced["rawInput"]) == ("execute", {"command": command})
    assert (running["status"], done["status"]) == ("in_progress", status)
    assert done["content"][0]["content"]["text"] == output.format(tmp_path)
    assert said(messages) == how


def test_a_cancel_ends_a_command_with_all_that_it_has_started(tmp_path: Path) -> None:
    with open_scripted_agent() as agent:
        agent.start(str(tmp_path))
        started = tmp_path / "started"
        prompt = agent.prompt("run sleep 600 & echo $! > started && wait")
        eventually(lambda: started.exists() and started.read_text().endswith("\n"))
        child = int(started.read_text())
        agent.cancel()
        rest = agent.until(prompt)
        assert stop_reason(rest) == "cancelled"
        assert tool_updates(rest)[-1]["status"] == "failed"
    eventually(lambda: not is_running(child))


def test_a_directory_that_is_gone_fails_the_command() -> None:
    with open_scripted_agent() as agent:
        agent.start("/no/such/directory")
        messages = agent.turn("run true")
        assert tool_updates(messages)[-1]["status"] == "failed"
        assert "No such file or directory" in said(messages)


@pytest.mark.parametrize("old", [None, "a\nb\n"])
def test_a_file_is_edited_unasked(old: str | None, tmp_path: Path, validator: Validator) -> None:
    path = tmp_path / "f.txt"
    if old is not None:
        path.write_text(old)
    with open_scripted_agent() as agent:
        agent.start(str(tmp_path))
        messages = agent.turn(r"edit f.txt a\nc — \x3b\n")
    for message in messages[:-1]:
        validator("SessionNotification").validate(message["params"])
    announced, _, done = tool_updates(messages)
    assert (announced["kind"], announced["locations"]) == ("edit", [{"path": str(path)}])
    [diff] = done["content"]
    assert diff == {"type": "diff", "path": str(path), "oldText": old, "newText": "a\nc — ;\n"}
    assert (done["status"], path.read_text()) == ("completed", "a\nc — ;\n")


def test_a_file_that_can_not_be_written_fails_the_edit(tmp_path: Path) -> None:
    with open_scripted_agent() as agent:
        agent.start(str(tmp_path))
        assert tool_updates(agent.turn("edit no/such/folder x"))[-1]["status"] == "failed"


@pytest.mark.parametrize("by_id", [False, True])
@pytest.mark.parametrize(("option", "text"), [("allow", "new\n"), ("always", "new\n"), ("reject", "old\n")])
def test_a_file_is_edited_once_that_is_allowed(
    option: str, text: str, by_id: bool, tmp_path: Path, validator: Validator
) -> None:
    path = tmp_path / "f.txt"
    path.write_text("old\n")
    word = "ask-edit-by-id" if by_id else "ask-edit"
    with open_scripted_agent() as agent:
        agent.start(str(tmp_path))
        messages, [asked] = agent.exchange(rf"{word} f.txt new\n", choose(option))
    validator("RequestPermissionRequest").validate(asked["params"])
    announced, *_, done = tool_updates(messages)
    diff = {"type": "diff", "path": str(path), "oldText": "old\n", "newText": "new\n"}
    assert announced.get("content", []) == [diff] * by_id
    assert asked["params"]["toolCall"].get("content", []) == [diff] * (not by_id)
    assert asked["params"]["toolCall"]["toolCallId"] == announced["toolCallId"]
    assert done["status"] == ("failed" if option == "reject" else "completed")
    assert done.get("content", []) == [diff] * (option != "reject")
    assert (path.read_text(), said(messages)) == (text, option)


class ClientWithTerminal:
    """A client whose terminals show `output` and end with `ended`."""

    def __init__(self, validator: Validator, ended: Json) -> None:
        self.validator, self.ended = validator, ended
        self.methods: list[str] = []

    def answer(self, asked: Json) -> Json:
        method = asked["method"]
        self.methods.append(method)
        if method == "session/request_permission":
            return choose("allow")(asked)
        name = {
            "terminal/create": "CreateTerminalRequest",
            "terminal/wait_for_exit": "WaitForTerminalExitRequest",
            "terminal/output": "TerminalOutputRequest",
            "terminal/release": "ReleaseTerminalRequest",
        }[method]
        self.validator(name).validate(asked["params"])
        results: dict[str, Json] = {
            "terminal/create": {"terminalId": "t"},
            "terminal/wait_for_exit": self.ended,
            "terminal/output": {"output": "some words", "truncated": False, "exitStatus": self.ended},
        }
        return {"result": results.get(method, {})}


IN_TERMINAL = ["terminal/create", "terminal/wait_for_exit", "terminal/output", "terminal/release"]


@pytest.mark.parametrize(
    ("ended", "how", "status"),
    [
        ({"exitCode": 0}, "exit code 0", "completed"),
        ({"exitCode": 2}, "exit code 2", "failed"),
        ({"exitCode": None, "signal": "SIGKILL"}, "signal SIGKILL", "failed"),
    ],
)
def test_a_command_runs_in_the_client_s_terminal(
    ended: Json, how: str, status: str, validator: Validator
) -> None:
    client = ClientWithTerminal(validator, ended)
    with open_scripted_agent() as agent:
        agent.start(capabilities={"terminal": True})
        messages, [created, *_] = agent.exchange("terminal make all", client.answer)
    assert client.methods == IN_TERMINAL
    assert created["params"]["args"] == ["-c", "make all"]
    _, running, done = tool_updates(messages)
    assert running["content"] == [{"type": "terminal", "terminalId": "t"}]
    assert (done["status"], said(messages)) == (status, f"some words\n{how}")


def test_it_asks_only_where_there_is_a_terminal(validator: Validator) -> None:
    client = ClientWithTerminal(validator, {"exitCode": 0})
    with open_scripted_agent() as agent:
        agent.start(capabilities={"terminal": True})
        messages, _ = agent.exchange("ask-terminal true", client.answer)
        assert client.methods == ["session/request_permission", *IN_TERMINAL]
        assert said(messages) == "allow\nsome words\nexit code 0"
        _, [asked] = agent.exchange("ask-terminal true", choose("reject"))
        assert asked["method"] == "session/request_permission"
    with open_scripted_agent() as agent:
        agent.start(capabilities={"terminal": False})
        assert said(agent.turn("ask-terminal true")) == "exit code 0"


def test_a_cancel_kills_the_command_in_the_terminal() -> None:
    with open_scripted_agent() as agent:
        agent.start(capabilities={"terminal": True})
        prompt = agent.prompt("terminal sleep 600; say never")
        waits: Json = {}
        messages: list[Json] = []
        while not messages or messages[-1].get("id") != prompt or "method" in messages[-1]:
            messages.append(agent.message())
            match messages[-1].get("method"):
                case "terminal/create":
                    agent.send(id=messages[-1]["id"], result={"terminalId": "t"})
                case "terminal/wait_for_exit":
                    waits = messages[-1]
                    agent.cancel()
                case "terminal/kill":
                    agent.send(id=messages[-1]["id"], result={})
                    agent.send(id=waits["id"], result={"signal": "SIGKILL"})
                case "terminal/output":
                    agent.send(id=messages[-1]["id"], result={"output": "", "truncated": False})
                case "terminal/release":
                    agent.send(id=messages[-1]["id"], result={})
    assert (stop_reason(messages), said(messages)) == ("cancelled", "\nsignal SIGKILL")


@pytest.mark.parametrize("act", ["terminal ls", "fs-read a.txt", "fs-write a.txt x"])
def test_a_refusal_is_said_with_its_code_and_message(act: str) -> None:
    with open_scripted_agent() as agent:
        agent.start()
        messages, [_] = agent.exchange(act, lambda _: REFUSED)
        assert said(messages) == "error -32601: no such method"


def test_the_client_s_files_are_read_and_written(validator: Validator) -> None:
    files: dict[str, str] = {}

    def answer(asked: Json) -> Json:
        params = asked["params"]
        if asked["method"] == "fs/read_text_file":
            validator("ReadTextFileRequest").validate(params)
            return {"result": {"content": files[params["path"]]}}
        validator("WriteTextFileRequest").validate(params)
        files[params["path"]] = params["content"]
        return {"result": {}}

    with open_scripted_agent() as agent:
        agent.start("/work")
        messages, _ = agent.exchange(r"fs-write a/b.txt one\ntwo; fs-read /work/a/b.txt", answer)
    assert files == {"/work/a/b.txt": "one\ntwo"}
    assert said(messages) == "writtenone\ntwo"


def test_an_update_may_be_any_object(tmp_path: Path) -> None:
    given = {"sessionUpdate": "tool_call_update", "toolCallId": 5, "kind": ["x"], "rawInput": "a; b"}
    with open_scripted_agent("--memory", str(tmp_path)) as agent:
        agent.start()
        messages = agent.turn("tool-raw " + json.dumps(given).replace(";", r"\u003b") + '; tool-raw {"a": 1}')
    assert updates(messages) == [given, {"a": 1}]
