"""The actions of a turn that do something, asked or unasked: commands, edits, and what the client does for them."""

from __future__ import annotations

import json
import os
import re
import signal
from typing import Any

from trio_broker.testing.scripted_agent.questions import Questions
from trio_broker.testing.scripted_agent.script import NUMBER
from trio_broker.testing.scripted_agent.stdio import Json, text_block
from trio_broker.testing.scripted_agent.turn import refusal_text, unescaped

POLL = 0.02  # seconds between two looks for a cancel while something runs


class Tools(Questions):
    """A turn that can act. What it does is a tool call."""

    def do_tool(self, rest: str) -> None:
        """`tool TITLE [SECONDS]`: quiet for so long; a cancel fails it."""
        title, _, seconds = rest.rpartition(" ")
        if not title or not re.fullmatch(NUMBER, seconds):
            title, seconds = rest, "0"
        call = self.tool_call(title)
        self.update("tool_call", **call)
        self._progress(call)
        status = "failed" if self.cancelled.wait(float(seconds)) else "completed"
        self._finish(call, f"{title}: {status}", status == "completed")

    def do_tool_raw(self, text: str) -> None:
        """`tool-raw JSON`: this object is the update of a session/update."""
        update = json.loads(text)
        self.on_update(update)
        self.connection.notify("session/update", {"sessionId": self.session.id, "update": update})

    # by itself

    def do_run(self, command: str) -> None:
        """`run CMD`: a shell runs it, and nobody was asked."""
        self._run(self.announce(command, "execute"), command)

    def do_edit(self, rest: str) -> None:
        """`edit PATH TEXT`: the file has this text then, and nobody was asked."""
        diff = self._diff(rest)
        self._write(self._announce_edit(diff), diff)

    def do_ask_edit(self, rest: str) -> None:
        """`ask-edit PATH TEXT`: asks with the diff, and writes the file if that is allowed."""
        diff = self._diff(rest)
        call = self._announce_edit(diff)
        self._ask_and_write(call, {**call, "content": [diff]}, diff)

    def do_ask_edit_by_id(self, rest: str) -> None:
        """`ask-edit-by-id PATH TEXT`: the same, and the diff is announced, not in the request."""
        diff = self._diff(rest)
        call = self._announce_edit(diff, content=[diff])
        self._ask_and_write(call, {"toolCallId": call["toolCallId"]}, diff)

    def _ask_and_write(self, call: Json, asked: Json, diff: Json) -> None:
        answer = self.permission(asked)
        if self.is_allowed(answer):
            self._write(call, diff)
        else:
            self._refused(call)
        self.say(answer)

    def _announce_edit(self, diff: Json, **fields: Any) -> Json:
        path = diff["path"]
        return self.announce(f"Edit {path}", "edit", locations=[{"path": path}], **fields)

    def _diff(self, rest: str) -> Json:
        """The change of a file to a text; its old text is null if there is no such file."""
        path, _, text = rest.partition(" ")
        path, old = self.path(path), None
        try:
            with open(path, encoding="utf-8", errors="replace", newline="") as file:
                old = file.read()
        except OSError:
            pass  # a new file, or `_write` says why it can't be written either
        return {"type": "diff", "path": path, "oldText": old, "newText": unescaped(text)}

    def _write(self, call: Json, diff: Json) -> None:
        self._progress(call)
        try:
            with open(diff["path"], "w", encoding="utf-8", errors="surrogatepass", newline="") as file:
                file.write(diff["newText"])
        except OSError as error:
            self._finish(call, str(error), False)
        else:
            self.update("tool_call_update", toolCallId=call["toolCallId"], status="completed", content=[diff])

    def _run(self, call: Json, command: str) -> None:
        from subprocess import DEVNULL, PIPE, STDOUT, Popen, TimeoutExpired  # late: its import is slow

        self._progress(call)
        argv, cwd = ["/bin/sh", "-c", command], self.path("")
        try:
            process = Popen(argv, stdin=DEVNULL, stdout=PIPE, stderr=STDOUT, cwd=cwd, process_group=0)
        except OSError as error:  # the directory is gone
            self._finish(call, str(error), False)
            self.say(str(error))
            return
        while True:
            try:
                output, _ = process.communicate(timeout=POLL)
                break
            except TimeoutExpired:
                if self.cancelled.is_set():
                    _kill_group(process.pid)
        text = output.decode("utf-8", "replace")
        code = process.returncode
        how = f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"
        self._finish(call, text or how, code == 0)
        self.say(how)

    # with the client's files and terminals

    def do_terminal(self, command: str) -> None:
        """`terminal CMD`: the client's terminal runs it, and nobody was asked."""
        self._run_in_terminal(self.announce(command, "execute"), command)

    def do_ask_terminal(self, command: str) -> None:
        """`ask-terminal CMD`: asks and uses a terminal where the client offers one; else runs it, and asks nobody."""
        call = self.announce(command, "execute")
        if not self.offers("terminal"):
            self._run(call, command)
            return
        answer = self.permission(call)
        self.say(f"{answer}\n")
        if self.is_allowed(answer):
            self._run_in_terminal(call, command)
        else:
            self._refused(call)

    def _run_in_terminal(self, call: Json, command: str) -> None:
        argv = {"command": "/bin/sh", "args": ["-c", command], "cwd": self.path("")}
        created = self._request("terminal/create", **argv)
        if "result" not in created:
            self._finish(call, refusal_text(created), False)
            self.say(refusal_text(created))
            return
        terminal = {"terminalId": created["result"]["terminalId"]}
        shown = [{"type": "terminal", **terminal}]
        self._progress(call, content=shown)
        exited = self._wait_for_exit(terminal)
        output = self._request("terminal/output", **terminal)
        self._request("terminal/release", **terminal)
        code = (exited.get("result") or {}).get("exitCode")
        status = "completed" if code == 0 else "failed"
        self.update("tool_call_update", toolCallId=call["toolCallId"], status=status)
        self.say(_terminal_text(output, exited))

    def _wait_for_exit(self, terminal: Json) -> Json:
        """The response to terminal/wait_for_exit; a cancel kills the command."""
        params = {"sessionId": self.session.id, **terminal}
        pending = self.connection.begin_request("terminal/wait_for_exit", params)
        while not pending.answered.wait(POLL):
            if self.cancelled.is_set():
                self._request("terminal/kill", **terminal)
                return pending.wait()
        return pending.message

    def do_fs_read(self, path: str) -> None:
        """`fs-read PATH`: says the text of a file that the client reads."""
        response = self._request("fs/read_text_file", path=self.path(path))
        result = response.get("result")
        self.say(str(result.get("content")) if isinstance(result, dict) else refusal_text(response))

    def do_fs_write(self, rest: str) -> None:
        """`fs-write PATH TEXT`: the client writes the file."""
        path, _, text = rest.partition(" ")
        response = self._request("fs/write_text_file", path=self.path(path), content=unescaped(text))
        self.say("written" if "result" in response else refusal_text(response))

    def _request(self, method: str, **params: Any) -> Json:
        return self.connection.request(method, {"sessionId": self.session.id, **params})

    # the states of a tool call

    def _progress(self, call: Json, **fields: Any) -> None:
        self.update("tool_call_update", toolCallId=call["toolCallId"], status="in_progress", **fields)

    def _finish(self, call: Json, text: str, succeeded: bool) -> None:
        status = "completed" if succeeded else "failed"
        content = [{"type": "content", "content": text_block(text)}]
        self.update("tool_call_update", toolCallId=call["toolCallId"], status=status, content=content)

    def _refused(self, call: Json) -> None:
        self.update("tool_call_update", toolCallId=call["toolCallId"], status="failed")


def _kill_group(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        pass  # it has ended meanwhile


def _terminal_text(output: Json, exited: Json) -> str:
    """What a terminal showed, and how its command ended."""
    shown = output.get("result")
    text = str(shown.get("output")) if isinstance(shown, dict) else refusal_text(output)
    ended = exited.get("result")
    if not isinstance(ended, dict):
        return f"{text}\n{refusal_text(exited)}"
    code, number = ended.get("exitCode"), ended.get("signal")
    return f"{text}\n" + (f"exit code {code}" if code is not None else f"signal {number}")
