"""`queue`, and a prompt for a busy session: seen, changed, refused, or before the others."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from trio_broker.testing.processes.home import LIMIT, TRIO_BROKER, Home, eventually


def fill(home: Home, key: str, *words: str) -> None:
    """A session with a turn that runs, and one prompt for each word, which is its id, that waits."""
    assert home.run("prompt", "hang", "--no-wait", "-s", key, "--prompt-id", f"{key}-runs").returncode == 0
    home.until(key, "working")
    for word in words:
        done = home.run("prompt", f"say {word},", "--no-wait", "-s", key, "--prompt-id", word)
        assert done.returncode == 0, done.stderr


def finish(home: Home, key: str) -> list[str]:
    """Cancel what runs; the prompts that were run then."""
    assert home.run("cancel", "-s", key).returncode == 0
    assert home.run("wait", "-s", key).returncode == 0
    items = home.run("sessions", "history", "-s", key, "--format", "quiet").stdout
    return items.split()


def texts(home: Home, key: str) -> list[str]:
    return [turn["text"] for turn in home.json("queue", "list", "-s", key)["queued"]]


def test_move_edit_remove_in_text(shared: Home) -> None:
    fill(shared, "text", "alpha", "beta", "gamma", "delta")
    for words, says in (
        (("move", "delta", "1"), "delta is moved, number 1 of those that wait\n"),
        (("edit", "alp", "say ALPHA,"), "alpha is edited, number 2 of those that wait\n"),
        (("remove", "beta"), "beta is removed\n"),
    ):
        done = shared.run("queue", words[0], "-s", "text", *words[1:])
        assert (done.returncode, done.stdout, done.stderr) == (0, "", says)
    assert texts(shared, "text") == ["say delta,", "say ALPHA,", "say gamma,"]
    quiet = shared.run("queue", "list", "-s", "text", "--format", "quiet").stdout
    assert quiet == "delta\nalpha\ngamma\n"
    assert finish(shared, "text") == ["delta,", "ALPHA,", "gamma,"]
    left = shared.run("queue", "list", "-s", "text").stdout
    assert left == "nothing runs and nothing waits in session text\n"


def test_json_of_each(shared: Home) -> None:
    fill(shared, "json", "a", "b")
    listed = shared.json("queue", "list", "-s", "json")
    assert (listed["key"], listed["limit"], listed["running"]["promptId"]) == ("json", 16, "json-runs")
    assert [turn["promptId"] for turn in listed["queued"]] == ["a", "b"]
    facts = {"promptId": "b", "key": "json"}
    moved = shared.json("queue", "move", "-s", "json", "b", "1")
    assert moved == {"action": "prompt_moved", "position": 1, **facts}
    edited = shared.json("queue", "edit", "-s", "json", "b", "say B")
    assert edited == {"action": "prompt_edited", "position": 1, **facts}
    removed = shared.json("queue", "remove", "-s", "json", "b")
    assert removed == {"action": "prompt_removed", "position": None, **facts}
    assert finish(shared, "json") == ["a,"]


def test_an_edit_from_a_file_and_from_an_editor(shared: Home, tmp_path: Path) -> None:
    fill(shared, "file", "a", "b")
    (tmp_path / "prompt.md").write_text("say from file,\n", encoding="utf-8")
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nsed -i "s/b/edited/" "$1"\n', encoding="utf-8")
    editor.chmod(0o755)
    assert shared.run("queue", "edit", "-s", "file", "a", "-f", "prompt.md", cwd=tmp_path).returncode == 0
    shared.env["EDITOR"] = str(editor)
    with shared.terminal("queue", "edit", "-s", "file", "b") as person:
        person.see("b is edited, number 2")
        assert person.end() == 0
    assert texts(shared, "file") == ["say from file,\n", "say edited,"]
    assert shared.run("sessions", "close", "--kill", "-s", "file").returncode == 0


def test_what_was_written_in_an_editor_is_shown_when_the_prompt_waits_no_more(
    shared: Home, tmp_path: Path
) -> None:
    fill(shared, "late", "a")
    editor = tmp_path / "editor"
    remove = shlex.join([*TRIO_BROKER, "queue", "remove", "-s", "late", "a"])
    editor.write_text(f'#!/bin/sh\n{remove}\necho "say precious words" > "$1"\n', encoding="utf-8")
    editor.chmod(0o755)
    shared.env["EDITOR"] = str(editor)
    with shared.terminal("queue", "edit", "-s", "late", "a") as person:
        person.see("say precious words")
        person.see("has ended already")
        assert person.end() == 1
    assert shared.run("sessions", "close", "--kill", "-s", "late").returncode == 0


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["remove", "errors-runs"], 1, "runs already; cancel it instead"),
        (["move", "nope", "1"], 1, "is not there; `trio-broker queue list` shows those that wait"),
        (["edit", "a", ""], 2, "the prompt is empty; give it as words, or with -f FILE"),
        (["move", "a", "0"], 2, "0 is too little; write 1 or more"),
    ],
)
def test_what_can_not_be_changed_is_told(shared: Home, words: list[str], code: int, says: str) -> None:
    if shared.session("errors") is None:
        fill(shared, "errors", "a")
    done = shared.run("queue", words[0], "-s", "errors", *words[1:])
    assert (done.returncode, says in done.stderr, done.stdout) == (code, True, ""), done.stderr
    assert shared.run("queue", "list", "-s", "nobody's").returncode == 4


def test_who_waits_for_a_prompt_is_told_what_became_of_it(shared: Home) -> None:
    fill(shared, "told")
    with shared.start("prompt", "say it", "-s", "told", "--prompt-id", "mine") as process:
        eventually(lambda: texts(shared, "told") == ["say it"])
        shared.run("queue", "edit", "-s", "told", "mine", "say that")
        shared.run("queue", "remove", "-s", "told", "mine")
        _, stderr = process.communicate(timeout=LIMIT)
    assert process.returncode == 130
    first, second, third = stderr.splitlines()
    assert first == "[queued] 1 before this one"
    assert second.startswith("[queued] 1 before this one, edited by owner (client-")
    assert third.startswith("the turn ended as cancelled: removed from the queue by owner (client-")
    assert finish(shared, "told") == []


def test_hostile_text_is_shown_and_not_obeyed(shared: Home) -> None:
    fill(shared, "evil", "a")
    shared.run("queue", "edit", "-s", "evil", "a", "say \x1b[2Jowned\x9b")
    for style in ("text", "json"):
        with shared.terminal("queue", "list", "-s", "evil", "--format", style) as person:
            assert person.end() == 0
            assert "owned" in person.screen and not {"\x1b", "\x9b"} & {*person.screen}
    shared.run("sessions", "close", "--kill", "-s", "evil")


def test_reject_is_exit_1_and_says_what_to_do(shared: Home) -> None:
    assert shared.run("prompt", "say free", "-s", "reject", "--if-busy", "reject").returncode == 0
    fill(shared, "reject")
    done = shared.run("prompt", "say no", "-s", "reject", "--if-busy", "reject")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith("--if-busy interrupt` cancels what runs.\n")
    done = shared.run("prompt", "say no", "-s", "reject", "--if-busy", "reject", "--no-wait")
    assert done.returncode == 1 and "is busy" in done.stderr
    assert finish(shared, "reject") == ["free"]


def test_interrupt_cancels_what_runs_and_is_next(shared: Home) -> None:
    with shared.start("prompt", "say first; hang", "-s", "interrupt") as process:
        shared.until("interrupt", "working")
        shared.run("prompt", "say third", "--no-wait", "-s", "interrupt")
        done = shared.run("prompt", "say second,", "-s", "interrupt", "--if-busy", "interrupt")
        assert done.returncode == 0 and done.stdout == "second,\n[done] end_turn\n"
        _, stderr = process.communicate(timeout=LIMIT)
    assert process.returncode == 130
    assert "the turn ended as cancelled: interrupted by owner (client-" in stderr
    shared.run("wait", "-s", "interrupt")
    said = shared.run("sessions", "history", "-s", "interrupt", "--format", "quiet").stdout
    assert said.split() == ["first", "second,", "third"]
