"""An error on the terminal: what happened, the next step, and the exit code."""

from __future__ import annotations

import click
import pytest

from trio_broker.cli.error_output import EXIT_CODES, NEXT_STEPS, error_text, print_error, print_usage_error
from trio_broker.errors import (
    AgentGone,
    BrokerError,
    BrokerGone,
    Busy,
    ConfigError,
    Forbidden,
    NoBroker,
    NoSession,
    RemoteError,
    from_rpc,
)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("x"), 2),
        (NoSession("x"), 4),
        (Forbidden("x"), 5),
        (NoBroker("x"), 6),
        (BrokerGone("x"), 6),
        (AgentGone("x"), 1),
        (RemoteError(4, "x"), 1),
    ],
)
def test_the_exit_code_tells_who_did_it(
    error: BrokerError, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert print_error(error) == code
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("trio-broker: ")


def test_the_next_step_stands_on_a_line_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    print_error(Busy("the session works"))
    assert capsys.readouterr().err.splitlines() == ["trio-broker: the session works", NEXT_STEPS["busy"]]
    print_error(NoSession("no session live or closed has the key 'k'"))
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_every_next_step_is_that_of_an_error_of_the_broker() -> None:
    for code in NEXT_STEPS:
        assert from_rpc({"data": {"kind": code}}).code == code
    assert set(EXIT_CODES.values()) == {2, 3, 4, 5, 6}


def test_an_agent_that_wants_a_login_is_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    print_error(RemoteError(-32000, "Authentication required"))
    said, step = capsys.readouterr().err.splitlines()
    assert "error -32000: Authentication required" in said and step.startswith("Log in")


def test_data_of_an_agent_is_part_of_the_text() -> None:
    assert error_text(RemoteError(1, "no")) == "the agent answered with error 1: no"
    assert error_text(RemoteError(1, "no", "why")).endswith("no: why")
    assert error_text(RemoteError(1, "no", {"grün": 1})).endswith('no: {"grün": 1}')


def test_no_escape_of_an_agent_reaches_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    print_error(RemoteError(1, "\x1b[2Jgone", "\x1b]0;title\x07"))
    error = capsys.readouterr().err
    assert "gone" in error and "\x1b" not in error and "\x07" not in error


@click.group()
@click.option("--url")
def program(url: str | None) -> None: ...


@program.command()
@click.option("-n", "number", type=click.FloatRange(min=0, min_open=True))
@click.option("-s", "session")
def work(number: float | None, session: str | None) -> None: ...


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["work", "-n", "x"], "'x' is no number; write one such as 30 or 2.5"),
        (["work", "-n", "0"], "0.0 is too little; write more than 0"),
        (["work", "--url", "x"], "--url stands before the command: `trio-broker --url … work`"),
        (
            ["--session", "x", "work"],
            "Options of a command stand after it: `trio-broker COMMAND --session …`",
        ),
        (["work", "extra"], "(extra). A session is named with -s KEY."),
        (["work", "--nonsense"], "No such option"),
    ],
)
def test_a_wrong_command_line_is_told_in_plain_words(
    words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(click.UsageError) as caught:
        program.main(words, standalone_mode=False)
    assert print_usage_error(caught.value) == 2
    assert says in capsys.readouterr().err
