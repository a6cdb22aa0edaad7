"""What rules can know of a call: attacks that were allowed, and calls of real agents that were asked about."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from trio_broker.auth.call import Call
from trio_broker.auth.policy import Action, Policy, Rule, decide

Json = dict[str, Any]
OPTIONS: list[Json] = [{"optionId": "yes", "kind": "allow_once"}, {"optionId": "no", "kind": "reject_once"}]
SSH = Rule(Action.DENY, path="~/.ssh")
READS = Rule(Action.ALLOW, kind=("read", "search"), path=".")
EDITS = Rule(Action.ALLOW, kind=("edit",), path=".")
APPROVE, APPROVE_READS, DENY = Policy.APPROVE_ALL, Policy.APPROVE_READS, Policy.DENY_ALL


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home directory with a secret, and a session's directory `w`, in which a hostile repository lies."""
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "id_rsa").write_text("secret")
    work = tmp_path / "w"
    for directory in ("src", "sub", "~", "app"):
        (work / directory).mkdir(parents=True)
    (work / "a.py").write_text("a")
    (work / "src" / "x.py").write_text("x")
    (work / "app" / "[id].tsx").write_text("x")
    (work / "sub" / "k").symlink_to(tmp_path / ".ssh")
    (work / "~" / "w").symlink_to(tmp_path / ".ssh")
    (work / "ln\nk").symlink_to(tmp_path / ".ssh")
    return tmp_path


def outcome(home: Path, rules: list[Rule], policy: Policy, call: Json, **more: Any) -> str:
    """`yes`, `no` or `ask`; `HOME` in a text of the call stands for the home directory."""
    filled = json.loads(json.dumps(call).replace("HOME", str(home)))
    decision = decide(rules, policy, Call(filled, cwd=str(home / "w"), home=str(home), **more), OPTIONS)
    return "ask" if decision.ask else str(decision.option_id)


def search(**raw: Any) -> Json:
    return {"kind": "search", "rawInput": raw}


def read(**raw: Any) -> Json:
    return {"kind": "read", "rawInput": raw}


ATTACKS: list[tuple[list[Rule], Policy, Json]] = [
    # A part of the input that is not looked at
    ([], APPROVE_READS, read(a={"command": "rm"}, pad=[0] * 20_001)),
    ([Rule(Action.DENY, kind=("execute",))], APPROVE, read(a={"command": "rm"}, pad=[0] * 20_001)),
    ([], APPROVE_READS, {"kind": "read", "rawInput": '{"command":"rm","x":"' + "x" * 300_000 + '"}'}),
    # Changes of files
    (
        [],
        APPROVE_READS,
        read(changes={"src/x.py": {"type": "update", "unified_diff": "@@ -1 +1 @@\n-a\n+b\n"}}),
    ),
    ([Rule(Action.DENY, kind=("edit",))], APPROVE, {"kind": "other", "rawInput": {"patchText": "x"}}),
    ([EDITS], DENY, {"kind": "edit", "rawInput": {"patch": "*** Update File: HOME/.ssh/id_rsa\n@@"}}),
    ([SSH], APPROVE, {"kind": "edit", "rawInput": {"file": "a.py", "patch": "+++ HOME/.ssh/id_rsa\n"}}),
    # Several paths in one member, and quotes
    *(
        ([READS], DENY, read(paths=text))
        for text in ("a.py /etc/passwd", "a.py,../.ssh/id_rsa", '"/etc/passwd"')
    ),
    *(([READS], DENY, read(paths=text)) for text in ("\ufeff/etc/passwd", "\u200b/etc/passwd")),
    *(
        ([SSH], APPROVE, read(files=text))
        for text in ("a.py HOME/.ssh/id_rsa", "'HOME/.ssh/id_rsa'", "@HOME/.ssh/x")
    ),
    *(([READS, SSH], APPROVE, read(file_path=text)) for text in ("https://x/../../../.ssh/id_rsa",)),
    # Patterns
    *(([SSH], APPROVE, search(pattern=text)) for text in ("HOME/**/id_rsa", "HOME/.s*/id_*", "../**/id_rsa")),
    ([READS], DENY, search(pattern="{.,.}./.ssh/*")),
    ([Rule(Action.DENY, path="src")], APPROVE, search(pattern="api/key")),
    ([Rule(Action.ALLOW, kind=("search",), path="src")], DENY, search(pattern="src/x")),
    ([SSH], APPROVE, search(directory="HOME", pattern="ssh/id")),
    # Words that name files or directories
    (
        [Rule(Action.DENY, path="src/x.py")],
        APPROVE,
        {"kind": "delete", "rawInput": {"path": "a.py", "victim": "src"}},
    ),
    (
        [Rule(Action.DENY, path=".env")],
        APPROVE,
        {"kind": "edit", "rawInput": {"name": ".env", "content": "x"}},
    ),
    ([READS], DENY, read(project_path="sub", path="k/id_rsa")),
    ([SSH], APPROVE, read(base="sub", path="k/id_rsa")),
    # Literally
    *(([READS], DENY, read(file_path=text)) for text in ("~/w/id_rsa", "ln\nk/id_rsa")),
    *(([SSH], APPROVE, read(file_path=text)) for text in ("~/w/id_rsa", "ln\nk/id_rsa")),
    # Claims
    ([Rule(Action.DENY, kind=("execute",))], APPROVE, {"kind": "Execute"}),
    ([Rule(Action.DENY, kind=("execute",))], APPROVE, {"kind": "shell"}),
    ([Rule(Action.DENY, title="rm")], APPROVE, {"kind": "read", "title": ""}),
    ([Rule(Action.DENY, title="rm .*-rf")], APPROVE, {"kind": "execute", "title": "rm \n -rf"}),
    ([Rule(Action.DENY, path="caf\u00e9")], APPROVE, read(path="cafe\u0301/x")),
    ([], APPROVE_READS, read(commandToRun="rm")),
    ([], APPROVE_READS, {"kind": "read", "content": [{"x": {"type": "terminal", "terminalId": "t"}}]}),
]


@pytest.mark.parametrize(("rules", "policy", "call"), ATTACKS)
def test_an_attack_is_not_allowed(home: Path, rules: list[Rule], policy: Policy, call: Json) -> None:
    assert outcome(home, rules, policy, call) in ("no", "ask")


def test_paths_count_in_every_title_and_in_what_was_replaced(home: Path) -> None:
    titles = ("Read ~/.ssh/id_rsa", "Read File")
    assert outcome(home, [SSH], APPROVE, read(path="a.py"), titles=titles) == "no"
    earlier = ({"rawInput": {"command": "rm -rf /"}},)
    assert outcome(home, [], APPROVE_READS, read(), earlier=earlier) == "ask"
    assert outcome(home, [SSH], APPROVE, read(path="a.py"), unclear="it is long") == "ask"


FINE: list[tuple[list[Rule], Policy, Json, str]] = [
    # Claude Code
    ([READS], DENY, read(file_path="HOME/w/a.py", offset=1, limit=10), "yes"),
    ([READS], DENY, search(pattern="/api/users", path="HOME/w/src", output_mode="content"), "yes"),
    ([READS], DENY, search(pattern="$scope.x", path="HOME/w/src"), "yes"),
    ([READS], DENY, search(pattern="def main"), "yes"),
    ([READS], DENY, search(pattern="*.ts"), "yes"),
    ([READS], DENY, search(pattern="src/**/*.ts"), "yes"),
    ([READS], DENY, read(file_path="HOME/w/app/[id].tsx"), "yes"),
    ([READS], DENY, read(file_path="HOME/.claude/x"), "no"),
    (
        [EDITS],
        DENY,
        {"kind": "edit", "rawInput": {"file_path": "HOME/w/a.py", "content": "#!/bin/sh\nls /etc\n"}},
        "yes",
    ),
    *(
        (
            [EDITS],
            DENY,
            {"kind": "edit", "rawInput": {"file_path": "HOME/w/a.py", "old_string": text, "new_string": "y"}},
            "yes",
        )
        for text in (
            "import x from '../lib/x'",
            "<b>x</b>",
            '<a href="/login">',
            "$this->x = 1;",
            "int x; /* old */",
        )
    ),
    (
        [SSH],
        APPROVE,
        {"kind": "fetch", "rawInput": {"url": "https://example.org/a", "prompt": "read it"}},
        "yes",
    ),
    ([SSH], APPROVE, read(file_path="HOME/w/a.py"), "yes"),
    ([SSH], APPROVE, search(pattern="id_rsa"), "yes"),
    ([SSH], APPROVE, {"kind": "execute", "rawInput": {"command": "ls", "description": "List files"}}, "ask"),
    (
        [SSH],
        APPROVE,
        {"kind": "edit", "rawInput": {"file_path": "HOME/w/a.py", "new_string": "$x = ${y};"}},
        "yes",
    ),
    (
        [Rule(Action.DENY, kind=("delete",))],
        APPROVE,
        {"kind": "edit", "rawInput": {"path": "a", "new_string": "y"}},
        "yes",
    ),
    ([Rule(Action.DENY, kind=("edit",))], APPROVE, {"kind": "delete", "rawInput": {"path": "a"}}, "yes"),
    ([], APPROVE_READS, search(query="how do I", path="src"), "yes"),
    # Codex, Gemini
    (
        [EDITS],
        DENY,
        {
            "kind": "edit",
            "rawInput": {"changes": {"src/x.py": {"type": "update", "unified_diff": "@@ -1 +1 @@"}}},
        },
        "yes",
    ),
    ([READS], DENY, {"kind": "read", "rawInput": {"command": ["cat", "a.py"], "cwd": "HOME/w"}}, "no"),
    (
        [EDITS],
        DENY,
        {
            "kind": "edit",
            "locations": [{"path": "HOME/w/a.py"}],
            "rawInput": {"file_path": "a.py", "content": "x"},
        },
        "yes",
    ),
]


@pytest.mark.parametrize(("rules", "policy", "call", "expected"), FINE)
def test_a_call_of_a_real_agent(
    home: Path, rules: list[Rule], policy: Policy, call: Json, expected: str
) -> None:
    assert outcome(home, rules, policy, call) == expected


def test_several_kinds_that_all_read_are_reads(home: Path) -> None:
    assert outcome(home, [], APPROVE_READS, read(path="a"), kinds=("search", "read")) == "yes"
    assert outcome(home, [], APPROVE_READS, read(path="a"), kinds=("other", "read")) == "ask"
