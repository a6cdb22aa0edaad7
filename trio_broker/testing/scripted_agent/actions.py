"""The actions of a turn. Each action is a method `do_…` of `Turn`; `questions` and `tools` have the others."""

from __future__ import annotations

import json
import os
import signal
import threading
from functools import partial

from trio_broker.testing.scripted_agent.stdio import (
    new_session_id,
    open_fds,
    start_sleeping_child,
    text_block,
    write_all,
)
from trio_broker.testing.scripted_agent.tools import Tools
from trio_broker.testing.scripted_agent.turn import ProcessState, TurnEnded


class Turn(Tools):
    """One prompt, with all its actions."""

    # what it says

    def do_say(self, text: str) -> None:
        self.say(text)

    do_echo = do_say

    def do_think(self, text: str) -> None:
        self.update("agent_thought_chunk", content=text_block(text))

    def do_plan(self, _: str) -> None:
        states = ("completed", "in_progress", "pending")
        entries = [
            {"content": f"step {n}", "priority": "medium", "status": state} for n, state in enumerate(states)
        ]
        self.update("plan", entries=entries)

    def do_usage(self, rest: str) -> None:
        """`usage [USED [SIZE]]`, in tokens."""
        used, size = (int(word) for word in [*rest.split(), *("1000", "200000")[len(rest.split()) :]])
        self.update("usage_update", used=used, size=size)

    def do_title(self, title: str) -> None:
        self.update("session_info_update", title=title)

    def do_commands(self, names: str) -> None:
        """`commands NAME …`: its slash commands are these."""
        commands = [{"name": name, "description": f"does {name}"} for name in names.split()]
        self.update("available_commands_update", availableCommands=commands)

    def do_mode(self, mode: str) -> None:
        """`mode ask|code`: changes it by itself, and says so."""
        self.session.mode = mode
        self.update("current_mode_update", currentModeId=mode)

    def do_config(self, model: str) -> None:
        """`config small|large`: changes the option `model` by itself, and says so."""
        self.session.model = model
        self.update("config_option_update", configOptions=self.session.options())

    def do_env(self, _: str) -> None:
        self.say(json.dumps(dict(os.environ)))

    def do_fds(self, _: str) -> None:
        self.say(json.dumps(open_fds()))

    def do_pid(self, _: str) -> None:
        self.say(str(os.getpid()))

    def do_cwd(self, _: str) -> None:
        self.say(os.getcwd())

    def do_session(self, _: str) -> None:
        """`session`: the parameters of its session/new."""
        self.say(json.dumps(self.session.params))

    def do_prompt(self, _: str) -> None:
        """`prompt`: the parameters of this session/prompt."""
        self.say(json.dumps(self.params))

    def do_capabilities(self, _: str) -> None:
        """`capabilities`: the clientCapabilities of its initialize."""
        self.say(json.dumps(self.session.capabilities))

    # how long it takes

    def do_wait(self, seconds: str) -> None:
        self.wait(float(seconds))

    def do_hang(self, _: str) -> None:
        self.wait()

    def do_hang_hard(self, _: str) -> None:
        threading.Event().wait()

    # what it writes

    def do_flood(self, rest: str) -> None:
        """`flood N [SIZE]`: N chunks of SIZE characters each, numbered."""
        count, size = (int(word) for word in [*rest.split(), "100"][:2])
        for number in range(count):
            self.say(f"{number} ".ljust(size, "."))
            if self.cancelled.is_set():
                raise TurnEnded

    def do_big(self, size: str) -> None:
        """`big BYTES`: one line of that size, its newline not counted."""
        self.connection.write(self._big_line(int(size)))

    def _big_line(self, size: int) -> bytes:
        content = {"sessionUpdate": "agent_message_chunk", "content": text_block("@")}
        params = {"sessionId": self.session.id, "update": content}
        line = json.dumps({"jsonrpc": "2.0", "method": "session/update", "params": params}).encode()
        return line.replace(b"@", b"x" * (size - len(line) + 1)) + b"\n"

    def do_garbage(self, _: str) -> None:
        self.connection.write(b"npm warn deprecated: this line is no JSON\n")

    def do_bad_utf8(self, _: str) -> None:
        self.connection.write(b'{"jsonrpc":"2.0","method":"session/update","params":{"text":"\xff\xfe"}}\n')

    def do_raw(self, text: str) -> None:
        r"""`raw TEXT`: these bytes as they are, escapes as in Python: `raw {"a":1}\n`, `raw \xff\x00`."""
        self.connection.write(text.encode().decode("unicode_escape").encode("latin-1"))

    def do_dribble(self, text: str) -> None:
        """`dribble TEXT`: says it, one byte in a write."""
        content = {"sessionUpdate": "agent_message_chunk", "content": text_block(text)}
        params = {"sessionId": self.session.id, "update": content}
        message = {"jsonrpc": "2.0", "method": "session/update", "params": params}
        self.connection.write(json.dumps(message).encode() + b"\n", 1)

    def do_stderr(self, size: str) -> None:
        count = int(size)
        write_all(2, (b"e" * 79 + b"\n") * (count // 80) + b"e" * (count % 80))

    def do_foreign(self, _: str) -> None:
        self.connection.update(new_session_id(), "agent_message_chunk", content=text_block("foreign"))

    def do_wrong_id(self, _: str) -> None:
        self.connection.reply(987654321, {})

    def do_stale_reply(self, _: str) -> None:
        """`stale-reply`: answers an earlier prompt, or the session/new, once more."""
        self.connection.reply(self.answered_ids[-1], {"stopReason": "end_turn"})

    # how it ends

    def do_stop(self, reason: str) -> None:
        self.stop_reason = reason

    def do_error(self, rest: str) -> None:
        code, _, message = rest.partition(" ")
        self.error = {"code": int(code), "message": message}
        raise TurnEnded

    def do_double_reply(self, _: str) -> None:
        self.after_answer.append(self.answer)

    def do_late(self, count: str) -> None:
        self.after_answer += [partial(self.say, f"late {number}") for number in range(int(count))]

    def do_own_turn(self, rest: str) -> None:
        """`own-turn TEXT`: after this turn one of its own, which nobody asked for: a thought, a tool call, and TEXT."""
        self.after_answer += [
            partial(self.do_think, "something came up"),
            partial(self.do_tool, "look by itself"),
        ]
        self.after_answer += [partial(self.say, rest), partial(self.do_usage, "")]

    def do_exit(self, code: str) -> None:
        """`exit CODE`: ends with the turn, in the moment after its answer."""
        self.after_answer.append(partial(os._exit, int(code)))

    def do_die(self, code: str) -> None:
        os._exit(int(code))

    def do_kill(self, name: str) -> None:
        number = int(name) if name.isdigit() else getattr(signal, "SIG" + name.upper().removeprefix("SIG"))
        if not callable(signal.getsignal(number)):
            signal.raise_signal(number)  # in this thread, so that no further act overtakes it
            return
        os.kill(os.getpid(), number)
        if number != signal.SIGTERM or not ProcessState.ignores_term:
            self.do_hang_hard("")  # the handler runs in the main thread

    def do_close_stdout(self, _: str) -> None:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)  # not only closed: the next file opened would become the new stdout
        os.close(null)

    def do_ignore_term(self, _: str) -> None:
        ProcessState.ignores_term = True

    def do_ignore_eof(self, _: str) -> None:
        ProcessState.ignores_eof = True

    def do_ignore_cancel(self, _: str) -> None:
        """`ignore-cancel`: no cancel reaches the rest of this turn."""
        self.cancelled = threading.Event()
        self.accepts_cancel = False

    def do_deaf(self, _: str) -> None:
        """`deaf`: reads nothing more, not even the end of stdin."""
        self.connection.stopped_reading = True

    def do_fork_child(self, _: str) -> None:
        """`fork-child`: a sleeping child in the group, holding stdout and stderr; says its pid."""
        self.say(str(start_sleeping_child(False)))

    def do_setsid_child(self, _: str) -> None:
        self.say(str(start_sleeping_child(True)))
