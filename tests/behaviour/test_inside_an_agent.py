"""An agent does not answer itself: a command that it runs may look, and prompt other sessions, and no more."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from trio_broker.testing.processes.home import CONFIG, FAKE, TRIO_BROKER, Home, eventually, fake_command_line

AGENTS = f"""{CONFIG}
inherit_env = ["TRIO_BROKER_HOME"]

[agents.trusted]
command = {json.dumps(list(FAKE))}
inherit_env = ["TRIO_BROKER_HOME"]
may_answer = true
"""
FORBIDDEN = 5
BATCH = 6  # commands
# Becomes the command in its arguments, as an orphan in a session of its own.
ORPHAN = """
import os, sys, time
if os.fork():
    sys.exit()
os.setsid()
middle = os.getpid()
if os.fork():
    os._exit(0)
while os.getppid() == middle:
    time.sleep(0.01)
os.execvp(sys.argv[1], sys.argv[1:])
"""
KNOWN = "this client runs inside the agent of session 'a', so it may "
UNKNOWN = "this client runs inside an agent, of which session is not known, so it may "


@pytest.fixture
def home() -> Iterator[Home]:
    with Home(AGENTS) as home:
        yield home


def clean(home: Home) -> list[str]:
    """Begins a command that has nothing of the agent's environment."""
    return ["env", "-i", f"PATH={os.environ['PATH']}", f"TRIO_BROKER_HOME={home.path}"]


def run_inside(
    home: Home, *commands: list[str], agent: str = "fake", key: str = "a", before: Iterable[str] = ()
) -> list[Any]:
    """The exit code and the words of each command; the agent of a session runs them, behind the words of `before`."""
    script, codes, said = (home.path / name for name in ("script", "codes", "said"))
    codes.unlink(missing_ok=True)
    lines = [f"{shlex.join(argv)} >{said}{n} 2>&1; echo $? >>{codes}~" for n, argv in enumerate(commands)]
    script.write_text("\n".join([*lines, f"mv {codes}~ {codes}"]), encoding="utf-8")
    done = home.run("prompt", "-a", agent, "-s", key, f"run {shlex.join([*before, 'sh', str(script)])}")
    assert done.returncode == 0, done.stderr
    eventually(codes.exists)
    texts = [Path(f"{said}{n}").read_text(encoding="utf-8") for n, _ in enumerate(commands)]
    return [
        {"code": int(code), "said": text}
        for code, text in zip(codes.read_text(encoding="utf-8").split(), texts, strict=True)
    ]


def inside_all(home: Home, *attempts: tuple[str, ...], **more: Any) -> list[Any]:
    """The same of `trio-broker WORDS`, of one after the other, so many in one turn that it ends in time."""
    commands = [[*TRIO_BROKER, *words] for words in attempts]
    batches = [commands[n : n + BATCH] for n in range(0, len(commands), BATCH)]
    return [done for batch in batches for done in run_inside(home, *batch, **more)]


def inside(home: Home, *words: str, **more: Any) -> Any:
    """The same of one of them."""
    return inside_all(home, words, **more)[0]


def inside_orphan(home: Home, *attempts: tuple[str, ...], before: Iterable[str] = ()) -> list[Any]:
    """The same of a process that has left its agent: it is a child of the broker."""
    program = home.path / "orphan.py"
    program.write_text(ORPHAN, encoding="utf-8")
    return inside_all(home, *attempts, before=[*before, sys.executable, str(program)])


def question(home: Home) -> str:
    """The id of a question that waits in session b."""
    home.run("prompt", "-s", "b", "--no-wait", "--ask", "ask edit it; say done")
    home.until("b", "waiting")
    (ask,) = home.json("pending")["asks"]
    return str(ask["askId"])


def history(home: Home, key: str) -> str:
    return home.run("sessions", "history", "-s", key).stdout


def test_it_does_not_answer_its_own_question(home: Home) -> None:
    """Seen with a real agent: it ran `trio-broker allow`, and the history said "by owner"."""
    script, said = home.path / "answer", home.path / "said"
    broker = shlex.join(TRIO_BROKER)
    script.write_text(
        f"{broker} wait -s a --until ask\n{broker} allow >{said}~ 2>&1\nmv {said}~ {said}\n", encoding="utf-8"
    )
    home.run("prompt", "-s", "a", "--no-wait", "--ask", f"run sh {script} >/dev/null 2>&1 &; ask edit it")
    eventually(said.exists)
    assert f"{KNOWN}not answer questions" in said.read_text(encoding="utf-8")
    assert len(home.json("pending")["asks"]) == 1
    assert home.run("allow").returncode == 0 and home.run("wait", "-s", "a").returncode == 0
    assert history(home, "a").count("by owner") == 1


def test_what_is_the_owners_is_refused_with_the_true_cause(home: Home) -> None:
    ask = question(home)
    command = fake_command_line()
    attempts = [
        ("allow", ask),
        ("deny", ask),
        ("set-mode", "-s", "b", "code"),
        ("set", "-s", "b", "model", "large"),
        ("prompt", "-s", "b", "--approve-all", "say no"),
        ("prompt", "-s", "b", "--ask", "say no"),
        ("prompt", "-s", "new", "--command", command, "say no"),
        ("exec", "--command", command, "say no"),
        ("sessions", "close", "-s", "b"),
        ("sessions", "close", "-s", "b", "--kill"),
        ("sessions", "export", "-s", "b"),
        ("sessions", "delete", "-s", "b"),
        ("sessions", "prune", "--older-than", "1d"),
        ("token", "new", "--name", "t", "--scope", "admin"),
        ("token", "list"),
        ("config", "reload"),
        ("down",),
        ("down", "--drain"),
    ]
    for words, done in zip(attempts, inside_all(home, *attempts), strict=True):
        assert done["code"] == FORBIDDEN and KNOWN in done["said"], (words, done)
        assert "set may_answer = true in [agents.fake]" in done["said"], (words, done)
        assert "the token" not in done["said"] and "--scope" not in done["said"], (words, done)
    assert [one["askId"] for one in home.json("pending")["asks"]] == [ask]
    assert home.session("b")["phase"] == "waiting" and home.session("b")["queue"] == 0
    assert home.run("allow", ask).returncode == 0
    assert "by owner" in history(home, "b") and "agent of session" not in history(home, "b")


def test_it_does_not_act_on_its_own_session(home: Home) -> None:
    attempts = [
        ("cancel", "-s", "a"),
        ("prompt", "-s", "a", "say no"),
        ("prompt", "-s", "a", "--no-wait", "say no"),
        ("prompt", "-s", "a", "--if-busy", "interrupt", "say no"),
        ("sessions", "close", "-s", "a"),
        ("sessions", "restart", "-s", "a"),
        ("sessions", "new", "-a", "fake", "-s", "a"),
    ]
    for words, done in zip(attempts, inside_all(home, *attempts), strict=True):
        assert done["code"] == FORBIDDEN, (words, done)
        assert f"{KNOWN}look at session 'a' but not act on it" in done["said"], (words, done)
    assert history(home, "a").count("prompt ") == 2, "those of the test, and nothing else"
    looks = [
        ("status",),
        ("sessions", "history", "-s", "a"),
        ("logs", "-s", "a"),
        ("queue", "list", "-s", "a"),
    ]
    assert [done["code"] for done in inside_all(home, *looks)] == [0, 0, 0, 0]


def test_it_looks_prompts_and_waits_elsewhere_in_its_own_name(home: Home) -> None:
    ask = question(home)
    pending, status = inside_all(home, ("pending",), ("status",))
    assert ask in pending["said"] and "waiting" in status["said"]
    assert home.run("allow", ask).returncode == 0
    waited, prompted = inside_all(
        home, ("wait", "-s", "b"), ("prompt", "-s", "b", "--format", "quiet", "say hello")
    )
    assert waited["code"] == 0 and prompted == {"code": 0, "said": "hello\n"}
    assert '"author":"agent of session \'a\'/client-' in home.run("sessions", "export", "-s", "b").stdout


def test_may_answer_gives_it_the_rights_of_the_owner_and_the_log_names_it(home: Home) -> None:
    ask = question(home)
    assert inside(home, "allow", ask, key="t", agent="trusted")["code"] == 0
    home.until("b", "idle")
    shown = history(home, "b")
    assert "by agent of session 't'" in shown and "by owner" not in shown
    assert (
        inside(home, "token", "new", "--name", "t", "--scope", "admin", key="t", agent="trusted")["code"] == 0
    )


# An ACP client of the command in its arguments: says every reply, one a line.
CLIENT = """
import json, subprocess, sys
session, *argv = sys.argv[1:]
calls = [("initialize", {"protocolVersion": 1}),
         ("session/load", {"sessionId": session, "cwd": "/", "mcpServers": []}),
         ("session/set_mode", {"sessionId": session, "modeId": "code"})]
with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8") as bridge:
    for number, (method, params) in enumerate(calls):
        call = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
        print(json.dumps(call), file=bridge.stdin, flush=True)
        print(next(line for line in bridge.stdout if json.loads(line).get("id") == number), end="")
    bridge.stdin.close()
"""


def test_a_bridge_that_it_starts_is_a_client_as_any_other(home: Home) -> None:
    home.run("prompt", "-s", "b", "say hi")
    session = home.session("b")["sessionId"]
    client = [sys.executable, "-c", CLIENT, session]
    (done,) = run_inside(home, [*client, *TRIO_BROKER, "acp", "-a", "fake"])
    initialized, loaded, mode = map(json.loads, done["said"].splitlines())
    assert "result" in initialized and "result" in loaded
    assert f"{KNOWN}not answer questions" in mode["error"]["message"]


@pytest.mark.parametrize("way", ["env -i", "setsid", "env -i setsid"])
def test_a_child_is_known_by_its_parents_whatever_its_environment(home: Home, way: str) -> None:
    ask = question(home)
    before = (clean(home) if "env" in way else []) + (["setsid", "-w"] if "setsid" in way else [])
    allow, own, other = inside_all(
        home,
        ("allow", ask),
        ("prompt", "-s", "a", "say no"),
        ("prompt", "-s", "b", "--no-wait", "say more"),
        before=before,
    )
    assert allow["code"] == FORBIDDEN and f"{KNOWN}not answer questions" in allow["said"]
    assert own["code"] == FORBIDDEN and "look at session 'a'" in own["said"] and other["code"] == 0


def test_an_orphan_is_known_by_its_tag(home: Home) -> None:
    ask = question(home)
    allow, own, other = inside_orphan(
        home, ("allow", ask), ("prompt", "-s", "a", "say no"), ("prompt", "-s", "b", "--no-wait", "say more")
    )
    assert allow["code"] == FORBIDDEN and f"{KNOWN}not answer questions" in allow["said"]
    assert own["code"] == FORBIDDEN and "look at session 'a'" in own["said"] and other["code"] == 0


def test_an_orphan_without_a_tag_only_looks(home: Home) -> None:
    """Any session could be its own, so it acts on none."""
    ask = question(home)
    attempts = [("prompt", "-s", "b", "say no"), ("prompt", "-s", "new", "say no"), ("cancel", "-s", "b")]
    allow, down, pending, *done = inside_orphan(
        home, ("allow", ask), ("down",), ("pending",), *attempts, before=clean(home)
    )
    assert allow["code"] == FORBIDDEN and f"{UNKNOWN}not answer questions" in allow["said"]
    assert down["code"] == FORBIDDEN and ask in pending["said"]
    for one in done:
        assert one["code"] == FORBIDDEN and f"{UNKNOWN}not do more than look" in one["said"]


def test_it_opens_sessions_in_its_own_directory_only(home: Home, tmp_path: Path) -> None:
    mine, other = tmp_path / "mine", tmp_path / "other"
    mine.mkdir()
    other.mkdir()
    assert home.run("sessions", "new", "-a", "fake", "-s", "a", "--cwd", str(mine)).returncode == 0
    words = ("sessions", "new", "-a", "fake", "-s")
    refused, opened, prompted, closed = inside_all(
        home,
        (*words, "o", "--cwd", str(other)),
        (*words, "m", "--cwd", str(mine)),
        ("prompt", "-s", "m", "--format", "quiet", "say hi"),
        ("sessions", "close", "-s", "m"),
    )
    assert refused["code"] == FORBIDDEN and KNOWN in refused["said"] and home.session("o") is None
    assert f"open sessions only within {mine}, not in '{other}'" in refused["said"]
    assert opened["code"] == 0 and prompted == {"code": 0, "said": "hi\n"}
    assert closed["code"] == 0, "it has opened that one"


def test_a_hook_and_what_it_leaves_behind_answer_as_the_owner(home: Home) -> None:
    """Such as a dialog on the desktop, which is there for longer than a hook may run."""
    argv = json.dumps([sys.executable, "-c", ORPHAN, *TRIO_BROKER, "allow"])
    home.config.write_text(f"{AGENTS}\n[policy]\nnotify = {argv}\n", encoding="utf-8")
    home.run("prompt", "-s", "b", "--no-wait", "--ask", "ask edit it; say done")
    home.until("b", "idle")
    assert "by owner" in history(home, "b")


def test_the_agent_of_another_broker_is_nobody_in_particular(home: Home) -> None:
    """An agent that starts a broker of its own is the owner there."""
    with Home() as other:
        before = ["env", f"TRIO_BROKER_HOME={other.path}"]
        words = [("up",), ("token", "new", "--name", "t", "--scope", "admin"), ("token", "list"), ("down",)]
        assert [done["code"] for done in inside_all(home, *words, before=before)] == [0, 0, 0, 0]
