"""What a running broker adds to completion: keys, names and ids; silence where there is none."""

from __future__ import annotations

import click
import pytest

from trio_broker.cli.completion_values import agent_items, agent_names, request_ids, session_keys
from trio_broker.testing.processes.home import Home

PARAMETER = click.Option(["--any"])


@click.command()
@click.option("--url")
@click.option("--config")
def program(url: str | None, config: str | None) -> None: ...


def context(*words: str) -> click.Context:
    return program.make_context("program", [*words])


@pytest.fixture
def in_home(home: Home, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A home that is that of this very process, too."""
    for name, value in home.env.items():
        if name.startswith("TRIO_BROKER"):
            monkeypatch.setenv(name, value)
    return home


def test_keys_names_and_ids_are_offered_by_their_beginning(in_home: Home) -> None:
    in_home.run("prompt", "ask edit it", "-s", "alpha", "--no-wait", "--ask")
    in_home.run("sessions", "ensure", "-s", "beta")
    in_home.run("sessions", "ensure", "-s", "evil\x1b[2J")
    in_home.until("alpha", "waiting")
    assert {item.value for item in session_keys(context(), PARAMETER, "")} == {"alpha", "beta"}
    (key,) = session_keys(context(), PARAMETER, "al")
    assert (key.value, key.help) == ("alpha", "fake, waiting")
    assert [item.value for item in agent_names(context(), PARAMETER, "fak")] == ["fake"]
    (asked,) = request_ids(context(), PARAMETER, "")
    assert asked.help == "alpha: edit it"
    assert request_ids(context(), PARAMETER, f"{asked.value}0") == []
    assert session_keys(context("--url", "ws://127.0.0.1:9"), PARAMETER, "") == []


def test_without_a_broker_nothing_is_offered_and_none_is_started(in_home: Home) -> None:
    assert session_keys(context(), PARAMETER, "") == agent_items(context(), "") == []
    assert request_ids(context(), PARAMETER, "") == [] and not in_home.socket.exists()


def test_a_path_that_is_too_long_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIO_BROKER_HOME", "/" + "x" * 200)
    assert session_keys(context(), PARAMETER, "") == []
