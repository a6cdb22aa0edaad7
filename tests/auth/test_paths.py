from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_broker.auth.call import Call
from trio_broker.auth.paths import exists, is_under, locate
from trio_broker.auth.policy import Action, Rule


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A session's directory, beside a directory that is not its business, with links from one to the other."""
    work, outside = tmp_path / "work", tmp_path / "outside"
    (work / "in").mkdir(parents=True)
    outside.mkdir()
    (outside / "secret").write_text("s")
    (work / "a.py").write_text("a")
    (work / "lnk").symlink_to(outside)
    (work / "rootlnk").symlink_to("/")
    (work / "filelnk").symlink_to(outside / "secret")
    (work / "in" / "chain").symlink_to("../lnk")
    (work / "loop").symlink_to("loop")
    (work / "inner").symlink_to("in")
    return work


def allowed(work: Path, path: object, name: str = "path") -> bool:
    call = Call(
        {"kind": "edit", "title": "Edit", "rawInput": {name: path}},
        cwd=str(work),
        home=str(work.parent / "home"),
    )
    return Rule(Action.ALLOW, path=".").match(call).holds


INSIDE = [
    "a.py",
    "./a.py",
    "in/../a.py",
    "new/file.py",
    "inner/x",
    " a.py",
    "a.py ",
    "in//x",
    "{}/a.py",
    "file://{}/a.py",
]
OUTSIDE = [
    "lnk/secret",
    "lnk",
    "filelnk",
    "rootlnk/etc/shadow",
    "lnk/../x",
    "in/chain/secret",
    "inner/chain/x",
    "in/../../../etc/passwd",
    "./../..",
    "..",
    "/etc/passwd",
    " /etc/passwd",
    "\t/etc/passwd ",
    "/etc/passwd\n",
    "\n/etc/passwd",
    "a.py\n/etc/passwd",
    "//etc/passwd",
    "///etc/passwd",
    "file:/etc/passwd",
    "FILE:///etc/passwd",
    "File://localhost/etc/passwd",
    "file:///etc/pass%77d",
    "file:///%2e%2e/etc/passwd#L1",
    "file:../x",
    "$HOME/x",
    "${HOME}/x",
    "$UNKNOWN/x",
    "~/x",
    "~root/x",
    "~nobody-knows/x",
    "..\\..\\etc",
    "%2e%2e/x",
    "lnk%2Fsecret",
    "/proc/self/root/etc/passwd",
    "/proc/self/cwd/a.py",
    "{}/../outside/secret",
    "{}/lnk/secret",
    "a\0b",
    "vscode://file/etc/passwd",
]


@pytest.mark.parametrize("path", INSIDE)
def test_a_path_inside_is_allowed(work: Path, path: str) -> None:
    assert allowed(work, path.replace("{}", str(work)))


@pytest.mark.parametrize("path", OUTSIDE)
def test_no_spelling_of_a_path_outside_is_allowed(work: Path, path: str) -> None:
    """Under the name of a path, under another one beside a harmless path, and as a word in a text."""
    path = path.replace("{}", str(work))
    assert not allowed(work, path)
    assert not allowed(work, {"path": "a.py", "deep": [{"path": path}]}, "args")


@pytest.mark.parametrize("path", [path for path in OUTSIDE if not path.startswith(("vscode", "a\0b"))])
def test_a_path_outside_is_found_under_any_name(work: Path, path: str) -> None:
    path = path.replace("{}", str(work))
    assert not allowed(work, {"path": "a.py", "victim": path}, "args")
    assert not allowed(work, {"path": "a.py", "victims": [[path]]}, "args")


@pytest.mark.parametrize(
    "text",
    [
        "Read /etc/passwd please",
        "--file=/etc/passwd",
        "cp lnk/secret x",
        "a.py:/etc/passwd",
        "see ~/x",
        "(../x)",
    ],
)
def test_a_path_in_a_line_of_text_counts(work: Path, text: str) -> None:
    assert not allowed(work, {"path": "a.py", "description": text}, "args")


@pytest.mark.parametrize(
    "text",
    ["Read https://example.org/etc/passwd", "and/or", "x = a / b", "#!/usr/bin/python\nimport os\n", "plain"],
)
def test_other_text_does_not(work: Path, text: str) -> None:
    assert allowed(work, {"path": "a.py", "text": text}, "args")


def test_a_link_that_leads_back_inside_is_inside(work: Path) -> None:
    (work / "back").symlink_to(work / "in")
    assert allowed(work, "back/x")
    assert allowed(work, "loop/x"), "a loop leads nowhere"


def test_a_session_that_works_behind_a_link_is_in_its_directory(work: Path, tmp_path: Path) -> None:
    (tmp_path / "to-work").symlink_to(work)
    call = Call({"kind": "edit", "rawInput": {"path": str(work / "a.py")}}, cwd=str(tmp_path / "to-work"))
    assert Rule(Action.ALLOW, path=".").match(call).holds
    assert Rule(Action.ALLOW, path=str(tmp_path / "to-work")).match(call).holds


def test_a_working_directory_in_the_call_moves_its_paths(work: Path, tmp_path: Path) -> None:
    assert not allowed(work, {"cwd": "lnk", "path": "x"}, "args")
    call = Call(
        {"kind": "edit", "rawInput": {"cwd": str(tmp_path / "outside"), "path": "secret"}}, cwd=str(work)
    )
    assert Rule(Action.DENY, path=str(tmp_path / "outside" / "secret")).match(call).holds


@pytest.mark.parametrize(
    "path", ["lnk/secret", "in/chain/secret", "filelnk", "../outside/secret", " lnk/secret"]
)
def test_a_path_that_is_denied_is_denied_through_a_link(work: Path, tmp_path: Path, path: str) -> None:
    call = Call({"kind": "read", "rawInput": {"any": path}}, cwd=str(work))
    assert Rule(Action.DENY, path=str(tmp_path / "outside")).match(call).holds
    assert Rule(Action.DENY, path="lnk").match(Call({"rawInput": {"path": "lnk/new"}}, cwd=str(work))).holds


def test_a_call_that_works_on_a_directory_may_touch_all_below_it(work: Path) -> None:
    rule = Rule(Action.DENY, path="in")
    for raw in ({"path": "."}, {"path": "/"}, {"cwd": str(work)}, {"path": str(work)}):
        assert not rule.match(Call({"kind": "search", "rawInput": raw}, cwd=str(work))).sure
    only = Call({"kind": "read", "rawInput": {"cwd": str(work), "path": "a.py"}}, cwd=str(work))
    assert rule.match(only).sure, "a working directory is not what is read"


@given(st.text(max_size=50))
def test_any_text_is_located(text: str) -> None:
    found = locate(text, "/work", "/home/me")
    assert all(path.startswith("/") for path in found.every)
    assert exists(text, "/nowhere") == (
        text.startswith("/") and os.path.lexists(text.replace("\0", "?")) and "\0" not in text
    )


def test_under_is_by_whole_names() -> None:
    assert is_under("/a/b", "/a") and is_under("/a", "/a") and is_under("/a", "/")
    assert not is_under("/ab", "/a") and not is_under("a", "/")
