"""`answer`: a form that an agent asks for while nobody is there, filled in from any shell."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trio_broker.testing.processes.home import Home


def ask(home: Home, key: str, text: str) -> str:
    """Have an agent ask something with nobody there; the ask's id."""
    assert home.run("prompt", f"{text}; say done", "-s", key, "--no-wait").returncode == 0
    home.until(key, "waiting")
    (id,) = [one["askId"] for one in home.json("pending")["asks"] if one["key"] == key]
    return str(id)


def said(home: Home, key: str) -> str:
    """What the agent got, as it says it."""
    home.until(key, "idle")
    return home.run("sessions", "history", "-s", key, "--format", "quiet").stdout


@pytest.mark.parametrize(
    ("words", "result"),
    [
        (
            ["--field", "name=a=b", "--field", "force=yes", "--field", "tags=a", "--field", "tags=b"],
            {
                "action": "accept",
                "content": {"count": 3, "force": True, "color": "green", "name": "a=b", "tags": ["a", "b"]},
            },
        ),
        (
            ["--field", "name=x", "--field", "count=5", "--field", "ratio=1", "--field", "tags=a,c"],
            {
                "action": "accept",
                "content": {
                    "count": 5, "force": False, "color": "green", "name": "x", "ratio": 1, "tags": ["a", "c"],
                },
            },
        ),
        (["--decline"], {"action": "decline"}),
        (["--cancel"], {"action": "cancel"}),
    ],
)  # fmt: skip
def test_a_form_that_nobody_sees_is_held_and_answered(
    shared: Home, request: pytest.FixtureRequest, words: list[str], result: object
) -> None:
    key = request.node.name
    id = ask(shared, key, "elicit-form")
    done = shared.run("answer", id, *words)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    outcome = "accept" if "--field" in words else words[0].removeprefix("--")
    assert done.stderr == f"{id} Some details, please.: {outcome}\n"
    text = said(shared, key)
    assert json.loads(text.partition("}done")[0] + "}") == result
    history = shared.run("sessions", "history", "-s", key).stdout
    assert f"Some details, please.: {outcome}, by owner (client-" in history


def test_a_form_as_it_stands_and_json(shared: Home) -> None:
    id = ask(shared, "stands", 'elicit-raw {"mode":"form","message":"Go?","requestedSchema":{}}')
    done = shared.run("answer", id)
    assert done.returncode == 2 and "give --field NAME=VALUE, --accept, --decline or --cancel" in done.stderr
    assert shared.json("answer", id, "--accept") == {
        "action": "answered",
        "askId": id,
        "key": "stands",
        "title": "Go?",
        "outcome": "accept",
        "optionId": None,
        "option": None,
    }
    again = shared.run("answer", id, "--accept")
    assert again.returncode == 1 and "was settled already: accept, by owner" in again.stderr


SUMMARY = "  name: a text of 1 to 40 characters, required\n  count: an integer from 1 to 9 [3]\n"


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (
            ["answer", "ID"],
            2,
            f"give --field NAME=VALUE, --accept, --decline or --cancel; its fields:\n{SUMMARY}",
        ),
        (
            ["answer", "ID", "--accept"],
            2,
            f"field 'name' is required: a text of 1 to 40 characters\n{SUMMARY}",
        ),
        (["answer", "ID", "--field", "name"], 2, "--field 'name': write NAME=VALUE"),
        (
            ["answer", "ID", "--field", "nam=x"],
            2,
            "the form has no field 'nam'; its fields are name, count, ",
        ),
        (
            ["answer", "ID", "--field", "count=no"],
            2,
            "field 'count' expects an integer from 1 to 9, not 'no'",
        ),
        (
            ["answer", "ID", "--field", "name=a", "--field", "name=b"],
            2,
            "field 'name' takes one value, and 2 were",
        ),
        (
            ["answer", "ID", "--decline", "--accept"],
            2,
            "give one answer: --field and --accept, or --decline, or",
        ),
        (
            ["allow", "ID"],
            2,
            "is a form: `trio-broker answer ID --field NAME=VALUE` fills it in (params.content",
        ),
        (["answer", "7-7", "--accept"], 1, "there is no ask '7-7'; `trio-broker pending` lists"),
        (["answer", "7-7", "--decline"], 1, "there is no ask '7-7'; `trio-broker pending` lists"),
    ],
)
def test_what_does_not_answer_a_form_says_why_and_leaves_it_open(
    shared: Home, words: list[str], code: int, says: str
) -> None:
    id = ask(shared, "wrong", "elicit-form")
    done = shared.run(*(id if word == "ID" else word for word in words))
    assert (done.returncode, says.replace("ID", id) in done.stderr) == (code, True), done.stderr
    assert shared.run("deny", id).returncode == 0
    assert '{"action": "decline"}' in said(shared, "wrong")


def test_a_permission_is_not_a_form(shared: Home) -> None:
    assert shared.run("prompt", "ask edit it", "-s", "permission", "--ask", "--no-wait").returncode == 0
    shared.until("permission", "waiting")
    (id,) = [one["askId"] for one in shared.json("pending")["asks"] if one["key"] == "permission"]
    done = shared.run("answer", id, "--accept")
    assert done.returncode == 2
    assert (
        f"ask {id} is not a form; `trio-broker allow {id}` or `trio-broker deny {id}` answers it"
        in done.stderr
    )
    assert shared.run("deny", id).returncode == 0


def test_a_url_is_accepted_or_declined(shared: Home) -> None:
    for words, action in ((["allow"], "accept"), (["answer", "--accept"], "accept"), (["deny"], "decline")):
        id = ask(shared, f"url {' '.join(words)}", "elicit-url https://example.org/x")
        assert shared.run("answer", id, "--field", "a=b").returncode == 2
        assert shared.run(words[0], id, *words[1:]).returncode == 0
        assert f'"action": "{action}"' in said(shared, f"url {' '.join(words)}")


def test_a_single_choice_is_allowed_by_an_option(shared: Home) -> None:
    id = ask(shared, "choice", "elicit-choice")
    assert shared.run("allow", id).returncode == 2
    assert shared.run("allow", id, "--option", "blue").stderr == f"{id} Which color?: blue\n"
    assert '{"action": "accept", "content": {"color": "blue"}}' in said(shared, "choice")


def test_a_form_is_filled_in_at_a_terminal(shared: Home, tmp_path: Path) -> None:
    id = ask(shared, "at a terminal", "elicit")
    with shared.terminal("answer", id, cwd=tmp_path) as person:
        person.see("[question] Your name?")
        person.see("name: ")
        person.type("Ada\n")
        person.see("a = accept, d = decline, e = edit again")
        person.type("a\n")
        assert person.end() == 0
    assert '{"action": "accept", "content": {"name": "Ada"}}' in said(shared, "at a terminal")


def test_a_prompt_that_waits_for_a_form_says_how_to_answer_it(shared: Home, tmp_path: Path) -> None:
    with shared.start("prompt", "elicit", "-s", "waits", cwd=tmp_path) as process:
        shared.until("waits", "waiting")
        (one,) = [one for one in shared.json("pending")["asks"] if one["key"] == "waits"]
        assert shared.run("answer", one["askId"], "--field", "name=Ada").returncode == 0
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 0
    assert f"[waiting] Your name?: `trio-broker answer {one['askId']}`, or deny\n" in stderr
    assert "[question] Your name?: accept by owner (client-" in stderr


def test_help_has_an_example(shared: Home) -> None:
    assert "  trio-broker answer 3-17 --field name=Ada" in shared.run("answer", "--help").stdout
