"""Commands that the broker runs for an agent (`terminal/…`): their output, their ends, and that none is left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from trio_broker.agent.process import AgentProcess
from trio_broker.agent.spawn import spawn_agent
from trio_broker.auth.policy import Action, Policy, Rule
from trio_broker.config.config import AgentConfig, BrokerConfig, Config, PolicyConfig, ServedBy
from trio_broker.model import Exit
from trio_broker.protocol.terminal_output import Output
from trio_broker.session.terminals import Terminal
from trio_broker.testing.clients.user import Json, User
from trio_broker.testing.in_process.rig import Rig, open_rig
from trio_broker.testing.processes.daemon import serving, visit, wait_until
from trio_broker.testing.processes.home import Home, is_running

AGENT = (sys.executable, "-S", "-E", str(Path(__file__).with_name("requesting_agent.py")))
PATIENCE = 60.0
NOT_FOUND, INVALID, FORBIDDEN = -32002, -32602, -32003
pytestmark = pytest.mark.process
T = {"terminalId": "$T"}


def agent(**more: Any) -> AgentConfig:
    return AgentConfig(AGENT, **({"terminal": ServedBy.BROKER} | more))


@asynccontextmanager
async def open_terminals(policy: PolicyConfig | None = None, **broker: Any) -> AsyncGenerator[Rig, None]:
    """A broker whose default agent makes the requests that its prompts name, and may use terminals."""
    config = Config(
        "requesting",
        broker=BrokerConfig(**broker),
        policy=policy or PolicyConfig(),
        agents={"requesting": agent()},
    )
    async with open_rig(config, spawn=spawn_agent) as rig:
        yield rig


async def run(user: User, session: str, *steps: Json) -> list[Any]:
    """Have the agent make these requests; what was answered."""
    before = len(user.said(session))
    await user.prompt(session, json.dumps(steps))
    answers: list[Any] = json.loads(user.said(session)[before:])
    return answers


def create(command: str, *args: str, **more: Any) -> Json:
    return {"call": "terminal/create", "params": {"command": command, "args": list(args), **more}}


def shell(line: str, **more: Any) -> Json:
    return create("/bin/sh", "-c", line, **more)


def call(what: str) -> Json:
    return {"call": f"terminal/{what}", "params": T}


EXIT, OUTPUT, KILL, RELEASE = map(call, ("wait_for_exit", "output", "kill", "release"))
ZERO = {"exitCode": 0, "signal": None}


# What a command says, and how it ends


async def test_an_agent_is_offered_terminals_where_its_configuration_says_so(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE):
        async with open_terminals() as rig, rig.connect() as user:
            rig.broker.config.agents["off"] = agent(terminal=ServedBy.NOBODY)
            session, off = await user.open("a"), await user.open("b", agent="off")
            (offered,) = await run(user, session, {"capabilities": True})
            assert offered["terminal"] is True and offered["fs"] == {
                "readTextFile": False,
                "writeTextFile": False,
            }
            (offered, refused) = await run(user, off, {"capabilities": True}, create("true"))
            assert offered["terminal"] is False and refused["error"]["code"] == -32601


async def test_output_of_both_streams_keeps_its_order_and_the_exit_code_is_told(tmp_path: Path) -> None:
    line = "i=0; while [ $i -lt 1000 ]; do echo out $i; echo err $i >&2; i=$((i+1)); done; exit 7"
    with trio.fail_after(PATIENCE):
        async with open_terminals() as rig, rig.connect() as user:
            session = await user.open("a")
            made, exit, output, again, released = await run(
                user, session, shell(line), EXIT, OUTPUT, EXIT, RELEASE
            )
            assert made["result"].keys() == {"terminalId"}
            assert exit["result"] == again["result"] == {"exitCode": 7, "signal": None}
            wanted = "".join(f"out {n}\nerr {n}\n" for n in range(1000))
            assert output["result"] == {"output": wanted, "truncated": False, "exitStatus": exit["result"]}
            assert released["result"] == {}


class Unread(AgentProcess):
    """A command whose output nobody comes to read before it exits, as on a busy machine."""

    @property
    def stdout(self) -> trio.abc.ReceiveStream:
        return NeverReady()


class NeverReady(trio.abc.ReceiveStream):
    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await trio.sleep_forever()
        raise AssertionError

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


async def test_what_was_written_before_the_exit_is_there_when_the_exit_is_told() -> None:
    with trio.fail_after(PATIENCE):
        start = partial(trio.lowlevel.open_process, stdout=subprocess.PIPE, start_new_session=True)
        process = await start(["/bin/sh", "-c", "echo last words; sleep 600 & exit 3"])
        terminal = Terminal("t", "x", Unread(process), Output(100))
        told: list[str] = []
        terminal.when_exited(lambda: told.append(terminal.output.text))
        terminal.when_exited(terminal.end)
        await terminal.run(0)
        assert told == ["last words\n"] and terminal.exit == Exit(code=3)
        assert process.stdout is not None
        await process.stdout.aclose()


async def test_output_is_kept_up_to_the_limit_of_the_agent_and_of_the_broker() -> None:
    with trio.fail_after(PATIENCE):
        async with open_terminals(terminal_output=1024) as rig, rig.connect() as user:
            session = await user.open("a")
            much = shell("printf 'x%.0s' $(seq 5000); printf äöü", outputByteLimit=5)
            _, _, output = await run(user, session, much, EXIT, OUTPUT)
            assert output["result"] | {"exitStatus": None} == {
                "output": "öü",
                "truncated": True,
                "exitStatus": None,
            }
            much["params"]["outputByteLimit"] = 10**9
            _, _, output = await run(user, session, much, EXIT, OUTPUT)
            assert output["result"]["truncated"] and output["result"]["output"] == "x" * 1018 + "äöü"
            _, _, output = await run(user, session, shell("echo", outputByteLimit=0), EXIT, OUTPUT)
            assert output["result"]["output"] == "" and output["result"]["truncated"]


async def test_a_command_has_the_directory_of_the_session_the_environment_of_its_agent_and_no_stdin(
    tmp_path: Path,
) -> None:
    with trio.fail_after(PATIENCE):
        async with open_terminals() as rig, rig.connect() as user:
            session = await user.open("a", cwd=str(tmp_path), env={"FROM_CLIENT": "1"})
            line = 'pwd; cat; echo "$FROM_CLIENT $MORE"'
            env = [{"name": "MORE", "value": "2"}]
            _, _, output = await run(user, session, shell(line, env=env), EXIT, OUTPUT)
            assert output["result"]["output"] == f"{tmp_path}\n1 2\n"
            _, _, output = await run(user, session, shell("pwd", cwd="/"), EXIT, OUTPUT)
            assert output["result"]["output"] == "/\n"


async def test_a_line_for_a_shell_without_args_is_run_by_one(tmp_path: Path) -> None:
    program = tmp_path / "my tool"
    program.write_text("#!/bin/sh\necho it ran\n")
    program.chmod(0o755)
    lines = {
        "echo one && echo two | cat": "one\ntwo\n",
        "X=3; echo $X": "3\n",
        "cd / && pwd": "/\n",
        str(program): "it ran\n",
        "./my tool": "it ran\n",
    }
    with trio.fail_after(PATIENCE):
        async with open_terminals() as rig, rig.connect() as user:
            session = await user.open("a", cwd=str(tmp_path))
            for line, wanted in lines.items():
                without: list[Json] = [{}, {"args": None}, {"args": []}]
                for args in without:
                    request = {"call": "terminal/create", "params": {"command": line, **args}}
                    _, _, output = await run(user, session, request, EXIT, OUTPUT)
                    assert output["result"]["output"] == wanted


async def test_kill_ends_the_group_and_keeps_the_output_and_release_forgets() -> None:
    with trio.fail_after(PATIENCE):
        async with open_terminals() as rig, rig.connect() as user:
            session = await user.open("a")
            line = shell("echo $$; sleep 600 & echo $!; wait")
            await run(user, session, line)
            both = await pids(user, session, 2)
            killed, output, exit, released, gone = await run(
                user, session, KILL, OUTPUT, EXIT, RELEASE, OUTPUT
            )
            assert killed["result"] == {} and not is_running(both[0])
            await wait_until(lambda: not is_running(both[1]))
            assert exit["result"] == {"exitCode": None, "signal": "SIGTERM"}
            assert output["result"]["output"].split() == [str(pid) for pid in both]
            assert output["result"]["exitStatus"] == exit["result"]
            assert released["result"] == {} and gone["error"]["code"] == NOT_FOUND
            assert "released" in gone["error"]["message"]


async def pids(user: User, session: str, number: int) -> list[int]:
    """The numbers that the terminal of the agent has written, when there are so many."""
    while True:
        (output,) = await run(user, session, OUTPUT)
        if len(found := output["result"]["output"].split()) >= number:
            return [int(word) for word in found]


async def test_a_command_that_ignores_sigterm_is_killed_after_the_grace() -> None:
    with trio.fail_after(PATIENCE):
        async with open_terminals(term_grace=0.2) as rig, rig.connect() as user:
            session = await user.open("a")
            await run(user, session, shell("trap '' TERM; echo $$; while :; do sleep 0.1; done"))
            (pid,) = await pids(user, session, 1)
            _, exit = await run(user, session, KILL, EXIT)
            assert exit["result"] == {"exitCode": None, "signal": "SIGKILL"} and not is_running(pid)


async def test_release_ends_a_command_that_runs_and_what_one_left_in_the_background() -> None:
    with trio.fail_after(PATIENCE):
        async with open_terminals() as rig, rig.connect() as user:
            session = await user.open("a")
            _, released, unknown = await run(user, session, shell("exec sleep 600"), RELEASE, EXIT)
            assert released["result"] == {} and unknown["error"]["code"] == NOT_FOUND
            _, exit, output = await run(user, session, shell("sleep 600 & echo $!"), EXIT, OUTPUT)
            assert exit["result"] == ZERO  # although the pipe is open still
            pid = int(output["result"]["output"])
            assert is_running(pid)
            await run(user, session, RELEASE)
            await wait_until(lambda: not is_running(pid))


async def test_a_command_counts_among_those_whose_exit_somebody_waits_for_until_it_is_released() -> None:
    """The broker reaps orphans that fall to it: one of these must not lose its number while its group is there."""
    with trio.fail_after(PATIENCE):
        async with open_terminals() as rig, rig.connect() as user:
            session = await user.open("a")
            await run(user, session, shell("echo $$"), EXIT)
            (pid,) = await pids(user, session, 1)
            assert pid in rig.broker.agent_processes()
            await run(user, session, RELEASE)
            assert pid not in rig.broker.agent_processes()


async def test_a_signal_that_comes_from_elsewhere_is_named() -> None:
    with trio.fail_after(PATIENCE):
        async with open_terminals() as rig, rig.connect() as user:
            session = await user.open("a")
            await run(user, session, shell("echo $$; exec sleep 600"))
            (pid,) = await pids(user, session, 1)
            os.kill(pid, signal.SIGKILL)
            (exit,) = await run(user, session, EXIT)
            assert exit["result"] == {"exitCode": None, "signal": "SIGKILL"}


async def test_a_wait_holds_up_nothing_and_can_be_taken_back() -> None:
    with trio.fail_after(PATIENCE):
        async with open_terminals() as rig, rig.connect() as user:
            session, other = await user.open("a"), await user.open("b")
            wait = [{"send": "terminal/wait_for_exit", "params": T, "as": name} for name in ("w", "x")]
            steps = [shell("sleep 600"), *wait, OUTPUT, {"cancel": "w"}, {"wait": "w"}, KILL, {"wait": "x"}]
            later = user.later(run, user, session, *steps)
            _, output = await run(user, other, shell("true"), EXIT)
            assert output["result"] == ZERO
            _, output, taken_back, _, killed = await later.wait()
            assert output["result"]["exitStatus"] is None
            assert taken_back["error"]["code"] == -32800
            assert killed["result"] == {"exitCode": None, "signal": "SIGTERM"}


async def test_a_flood_is_read_and_holds_up_nobody() -> None:
    with trio.fail_after(PATIENCE):
        async with open_terminals(terminal_output=4096) as rig, rig.connect() as user:
            session, other = await user.open("a"), await user.open("b")
            await run(user, session, create("yes", "flood"))
            for _ in range(20):
                await run(user, other, shell("true"), EXIT)
            _, output = await run(user, session, KILL, OUTPUT)
            assert output["result"]["truncated"] and len(output["result"]["output"]) > 4000


# What is refused


WRONG = {
    "no such program": ({"command": "no-such-program-here"}, NOT_FOUND, "not in the PATH"),
    "no such path": ({"command": "/no/such/program", "args": ["x"]}, NOT_FOUND, "no such program"),
    "no such directory": (
        {"command": "true", "cwd": "/no/such"},
        NOT_FOUND,
        "directory /no/such does not exist",
    ),
    "a file as a directory": (
        {"command": "true", "cwd": "/etc/passwd"},
        NOT_FOUND,
        "/etc/passwd does not exist",
    ),
    "a relative directory": ({"command": "true", "cwd": "sub"}, INVALID, "params.cwd"),
    "not a program": ({"command": "/etc/passwd", "args": ["x"]}, -32603, "Permission denied"),
    "no command": ({"args": ["x"]}, INVALID, "command"),
    "an empty command": ({"command": ""}, INVALID, "command"),
    "NUL": ({"command": "true", "args": ["a\0b"]}, INVALID, "NUL"),
    "args that are text": ({"command": "true", "args": "x"}, INVALID, "args"),
    "env that is a table": ({"command": "true", "env": {"A": "1"}}, INVALID, "env"),
    "a variable with =": ({"command": "true", "env": [{"name": "A=B", "value": ""}]}, INVALID, "A=B"),
    "a negative limit": ({"command": "true", "outputByteLimit": -1}, INVALID, "outputByteLimit"),
    "a limit that is text": ({"command": "true", "outputByteLimit": "1"}, INVALID, "outputByteLimit"),
}


async def test_wrong_requests_are_refused_with_their_reason_and_the_session_goes_on() -> None:
    with trio.fail_after(PATIENCE):
        async with open_terminals() as rig, rig.connect() as user:
            session = await user.open("a")
            for name, (params, code, words) in WRONG.items():
                (answer,) = await run(user, session, {"call": "terminal/create", "params": params})
                assert answer["error"]["code"] == code and words in answer["error"]["message"], name
            for method, params in (
                ("output", {"terminalId": "t"}),
                ("kill", {}),
                ("wait_for_exit", {"terminalId": 1}),
            ):
                (answer,) = await run(user, session, {"call": f"terminal/{method}", "params": params})
                assert answer["error"]["code"] == (NOT_FOUND if method == "output" else INVALID)
            (answer,) = await run(user, session, {"call": "terminal/resize", "params": T})
            assert answer["error"]["code"] == -32601
            services = rig.session("a").router.services
            assert services is not None and services.terminals.open == {}
            _, exit = await run(user, session, create("true"), EXIT)
            assert exit["result"] == ZERO


async def test_a_terminal_is_known_to_its_own_session_only() -> None:
    with trio.fail_after(PATIENCE):
        async with open_terminals() as rig, rig.connect() as user:
            first, second = await user.open("a"), await user.open("b")
            (made,) = await run(user, first, shell("sleep 600"))
            other = {"call": "terminal/output", "params": made["result"]}
            (answer,) = await run(user, second, other)
            assert answer["error"]["code"] == NOT_FOUND


async def test_the_number_of_terminals_is_limited_and_the_error_names_the_setting() -> None:
    with trio.fail_after(PATIENCE):
        async with open_terminals(max_terminals=2) as rig, rig.connect() as user:
            session = await user.open("a")
            one = shell("exit 0")
            *_, refused, _, fits = await run(user, session, one, one, one, RELEASE, one)
            assert (
                "2 terminals" in refused["error"]["message"]
                and "max_terminals" in refused["error"]["message"]
            )
            assert "result" in fits
            failing = create("no-such-program-here")
            await run(user, session, RELEASE, *[failing] * 5, one)  # what was not started takes no place


DENY = Rule(Action.DENY, title="precious")
POLICIES = [
    pytest.param(Policy.DENY_ALL, (), "policy:deny-all", id="deny-all"),
    pytest.param(Policy.APPROVE_READS, (), "policy:approve-reads", id="approve-reads"),
    pytest.param(Policy.APPROVE_ALL, (DENY,), "policy rule 1", id="rule"),
    pytest.param(Policy.ASK, (), None, id="ask"),
    pytest.param(Policy.APPROVE_ALL, (), None, id="approve-all"),
    pytest.param(Policy.DENY_ALL, (Rule(Action.ALLOW, title="precious"),), None, id="allowed by rule"),
]


@pytest.mark.parametrize("request_", ["args", "line"])
@pytest.mark.parametrize(("default", "rules", "by"), POLICIES)
async def test_a_command_that_the_policy_denies_is_not_run(
    default: Policy, rules: tuple[Rule, ...], by: str | None, request_: str, tmp_path: Path
) -> None:
    file = tmp_path / "precious"
    asked = create("touch", str(file)) if request_ == "args" else create(f"true && touch {file}")
    with trio.fail_after(PATIENCE):
        async with open_terminals(PolicyConfig(default, rules=rules)) as rig, rig.connect() as user:
            session = await user.open("a", cwd=str(tmp_path))
            (made, *_) = await run(user, session, asked, *([] if by else [EXIT]))
            notes = [event["text"] for event in user.events if event["kind"] == "note"]
            assert file.exists() == (by is None)
            if by is not None:
                assert made["error"]["code"] == FORBIDDEN and by in made["error"]["message"]
                assert len(notes) == 1 and by in notes[0] and "touch" in notes[0]
            else:
                assert notes == []


async def test_the_policy_of_a_turn_counts_in_that_turn(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE):
        async with open_terminals() as rig, rig.connect() as user:
            session = await user.open("a")
            steps = json.dumps([shell(f"touch {tmp_path}/x"), OUTPUT])
            await user.prompt(session, steps, policy="deny-all")
            assert "deny-all" in user.said(session) and not (tmp_path / "x").exists()


# Nothing is left behind


def home() -> Home:
    lines = [
        "default_agent = 'requesting'",
        "[agents.requesting]",
        f"command = {json.dumps(AGENT)}",
        "terminal = true",
    ]
    return Home("\n".join([*lines, "[broker]", "close_grace = 1", "term_grace = 0.5"]))


STUBBORN = (
    "trap '' TERM; echo $$; sleep 601 & echo $!; setsid sleep 602 & echo $!; "
    "(setsid sh -c 'sleep 603 & echo $!' &); while :; do sleep 0.1; done"
)


async def end(how: str, user: User, daemon: subprocess.Popen[str]) -> None:
    if how in ("close", "kill"):
        await user.call(f"_trio_broker/{how}", key="a")
    elif how == "agent dies":
        os.kill((await user.view("a"))["pid"], signal.SIGKILL)
    elif how == "stop":
        daemon.terminate()
    else:
        daemon.kill()


@pytest.mark.parametrize("how", ["close", "kill", "agent dies", "stop", "kill -9"])
async def test_no_way_of_ending_leaves_a_command(how: str) -> None:
    with trio.fail_after(PATIENCE), home() as there, serving(there) as daemon:
        async with visit(there) as user:
            session, other = await user.open("a"), await user.open("b")
            await run(user, session, shell(STUBBORN))
            found = await pids(user, session, 4)
            await run(user, other, shell("echo $$; exec sleep 604"))
            kept = await pids(user, other, 1)
            assert all(map(is_running, found + kept))
            await end(how, user, daemon)
            await wait_until(lambda: not any(map(is_running, found)))
            if how not in ("stop", "kill -9"):
                assert all(map(is_running, kept))
            else:
                await wait_until(lambda: not any(map(is_running, kept)))


async def test_a_command_gets_sigterm_and_the_grace_when_its_session_is_closed(tmp_path: Path) -> None:
    file = tmp_path / "cleaned up"
    line = f"trap 'sleep 0.3; touch \"{file}\"; exit' TERM; echo $$; while :; do sleep 0.05; done"
    with trio.fail_after(PATIENCE):
        async with open_terminals(term_grace=20) as rig, rig.connect() as user:
            session = await user.open("a")
            await run(user, session, shell(line))
            (pid,) = await pids(user, session, 1)
            await user.call("_trio_broker/close", key="a")
            assert not is_running(pid) and file.exists()


async def test_a_command_that_is_being_started_ends_with_its_session() -> None:
    with trio.fail_after(PATIENCE):
        async with open_terminals() as rig, rig.connect() as user:
            session = await user.open("a")
            begun = json.dumps([{"send": "terminal/create", "params": {"command": "sleep 605"}, "as": "x"}])
            await user.prompt(session, begun)
            await user.call("_trio_broker/close", key="a")
            await wait_until(lambda: not commands("sleep\x00605"))


def commands(words: str) -> list[Path]:
    """The processes whose command line begins with these words."""
    return [one for one in Path("/proc").glob("[0-9]*/cmdline") if _read(one).startswith(words.encode())]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


async def test_a_terminal_of_an_earlier_process_of_the_agent_is_unknown() -> None:
    with trio.fail_after(PATIENCE):
        async with open_terminals() as rig, rig.connect() as user:
            session = await user.open("a")
            (made,) = await run(user, session, shell("sleep 600"))
            await user.call("_trio_broker/restart", key="a")
            await user.wait_phase("a", "idle")
            (answer, again) = await run(
                user, session, {"call": "terminal/output", "params": made["result"]}, shell("true")
            )
            assert answer["error"]["code"] == NOT_FOUND and again["result"] != made["result"]


# What clients see of it, and what is redacted


def shows(id: str, call: str = "c1", status: str = "in_progress") -> Json:
    content = [
        {"type": "content", "content": {"type": "text", "text": "before"}},
        {"type": "terminal", "terminalId": id},
    ]
    tag = "tool_call" if status == "in_progress" else "tool_call_update"
    return {
        "update": {
            "sessionUpdate": tag,
            "toolCallId": call,
            "title": "x",
            "status": status,
            "content": content,
        }
    }


def texts(user: User, session: str, call: str = "c1") -> list[list[str]]:
    """The texts in each content that clients got of a tool call; the id of a terminal if it is one still."""
    found = [one.get("content") for one in user.updates(session) if one.get("toolCallId") == call]
    return [
        [item["content"]["text"] if item["type"] == "content" else item["terminalId"] for item in items]
        for items in found
        if items is not None
    ]


async def test_clients_get_the_output_of_a_terminal_in_the_place_of_its_id() -> None:
    with trio.fail_after(PATIENCE):
        async with open_terminals() as rig, rig.connect() as user, rig.connect() as late:
            session = await user.open("a")
            steps = [
                shell("echo one; read x; echo two"),
                EXIT,
                shows("$T"),
                RELEASE,
                shows("$T", status="completed"),
            ]
            await run(user, session, *steps)
            shown = "```\n$ /bin/sh -c 'echo one; read x; echo two'\none\ntwo\n```"
            assert texts(user, session) == [["before", shown]] * 2
            await late.call("initialize", protocolVersion=1)
            await late.call("session/load", sessionId=session, cwd="/tmp", mcpServers=[])
            assert texts(late, session)[-1] == ["before", shown]


async def test_a_tool_call_is_updated_with_the_output_when_its_command_exits(tmp_path: Path) -> None:
    go = tmp_path / "go"
    line = f"echo begun; while [ ! -e {go} ]; do sleep 0.05; done; echo done"
    with trio.fail_after(PATIENCE):
        async with open_terminals() as rig, rig.connect() as user:
            session = await user.open("a")
            replaced = {"sessionUpdate": "tool_call_update", "toolCallId": "c2", "content": []}
            await run(user, session, shell(line), shows("$T"), shows("$T", "c2"), {"update": replaced})
            assert "done\n```" not in texts(user, session)[-1][1]
            go.touch()
            await run(user, session, EXIT)
            assert texts(user, session)[-1][1].endswith("begun\ndone\n```") and len(texts(user, session)) == 2
            assert texts(user, session, "c2")[-1] == []  # the agent has said something else of it
            updates = [one for one in user.updates(session) if one.get("toolCallId") == "c1"]
            assert updates[-1].keys() == {"sessionUpdate", "toolCallId", "content"}


async def test_terminals_that_are_not_of_the_broker_stay_as_they_are() -> None:
    with trio.fail_after(PATIENCE):
        async with open_terminals() as rig, rig.connect() as user:
            session = await user.open("a")
            await run(user, session, shell("true"), EXIT, shows("another's"))
            assert texts(user, session) == [["before", "another's"]]


async def test_a_secret_reaches_the_command_and_nobody_else(tmp_path: Path) -> None:
    secret = "s3cret-0123456789-abcdefgh"
    file = tmp_path / "written"
    policy = PolicyConfig(rules=(Rule(Action.DENY, title="forbidden"),))
    env = [{"name": "OTHER_KEY", "value": "$SECRET"}]
    with trio.fail_after(PATIENCE):
        async with open_terminals(policy) as rig, rig.connect() as user:
            session = await user.open("a", env={"API_KEY": secret})
            line = shell(f'printf %s "$OTHER_KEY $SECRET" > {file}; echo $SECRET', env=env)
            await run(user, session, line, EXIT, OUTPUT, shows("$T"), shell("forbidden $SECRET"))
            assert file.read_text() == f"{secret} {secret}"
            assert "redacted" in texts(user, session)[0][1]
            notes = [event["text"] for event in user.events if event["kind"] == "note"]
            assert len(notes) == 1 and "redacted" in notes[0]
            assert secret not in b"".join(one.raw for one in user.messages).decode()
            assert secret not in str(await user.call("_trio_broker/logs", key="a"))
