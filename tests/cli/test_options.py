"""Options that several commands share, and where the text of a prompt comes from."""

from __future__ import annotations

from pathlib import Path

import pytest

from trio_broker.testing.processes.home import Home


@pytest.mark.parametrize(
    "command", [("prompt", "hi"), ("exec", "hi"), ("sessions", "new"), ("acp",)], ids=" ".join
)
def test_policies_that_contradict_each_other_are_refused(home: Home, command: tuple[str, ...]) -> None:
    """The last one won, and nobody was told."""
    done = home.run(*command, "--approve-all", "--deny-all")
    assert done.returncode == 2
    assert "--approve-all and --deny-all contradict each other; give one of them" in done.stderr
    assert not home.socket.exists()


def test_the_same_policy_twice_is_one(home: Home) -> None:
    done = home.run("exec", "ask edit it", "--deny-all", "--format", "quiet", "--deny-all")
    assert (done.returncode, done.stdout) == (5, "reject\n"), done.stderr


def answer(home: Home, *words: str, **options: object) -> str:
    done = home.run("exec", *words, "--format", "quiet", **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_words_a_file_or_stdin(shared: Home, tmp_path: Path) -> None:
    file = tmp_path / "prompt.txt"
    file.write_text("say from a file — with ünïcode\n", encoding="utf-8")
    assert answer(shared, "say", "from", "words") == "from words\n"
    assert answer(shared, "-f", str(file)) == "from a file — with ünïcode\n"
    assert answer(shared, "-f", "-", input="say from -f -") == "from -f -\n"
    assert answer(shared, input="say from stdin — ünïcode") == "from stdin — ünïcode\n"


def test_words_win_over_a_stdin_that_happens_to_be_there(shared: Home) -> None:
    assert answer(shared, "say words", input="say stdin") == "words\n"


def test_words_like_options_stand_behind_two_dashes(shared: Home) -> None:
    assert shared.run("exec", "--", "--help").stdout.startswith("echo: --help\n")


@pytest.mark.parametrize(
    ("words", "stdin", "says"),
    [
        (["hi", "-f", "-"], "there", "as words or with -f, not both"),
        (["-f", "/no/such/file"], "", "/no/such/file: [Errno 2]"),
        (["-f", "/"], "", "the prompt can't be read from /:"),
        (["-f", "/dev/null"], "", "the prompt is empty; give it as words"),
        ([" "], "", "the prompt is empty; give it as words"),
        ([], " \n", "the prompt is empty; give it as words"),
    ],
)
@pytest.mark.parametrize("command", ["prompt", "exec"])
def test_no_prompt_or_two_is_exit_2(
    home: Home, command: str, words: list[str], stdin: str, says: str
) -> None:
    done = home.run(command, *words, input=stdin)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr and "Traceback" not in done.stderr
    assert not home.socket.exists()


def test_a_prompt_that_is_no_utf_8_is_exit_2(home: Home, tmp_path: Path) -> None:
    file = tmp_path / "latin"
    file.write_bytes("say Grüße".encode("latin-1"))
    with file.open("rb") as stdin:
        piped = home.run("prompt", stdin=stdin, env={"PYTHONIOENCODING": "utf-8:strict"})
    named = home.run("prompt", "-f", str(file))
    for done in (piped, named):
        assert done.returncode == 2
        assert "the prompt can't be read from" in done.stderr and "0xfc" in done.stderr


def test_at_a_terminal_without_words_it_asks_for_them_and_does_not_hang(home: Home) -> None:
    with home.terminal("prompt") as person:
        person.see("what is the prompt? give it as words")
        assert person.end() == 2
