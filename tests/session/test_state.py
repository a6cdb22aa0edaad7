"""What a conversation is at present, from whatever told of it last; an agent may tell it badly."""

from __future__ import annotations

import json
from typing import Any

import pytest

from trio_broker.session.state import ConversationState

MODES = {
    "currentModeId": "ask",
    "availableModes": [{"id": "ask", "name": "Ask"}, {"id": "code", "name": "Code"}],
}
OPTION = {"id": "model", "name": "Model", "currentValue": "small"}


def state(**opened: Any) -> ConversationState:
    state = ConversationState()
    state.start_run("a", json.dumps(opened).encode())
    return state


@pytest.mark.parametrize("title", ["Mend the parser", None])
def test_a_title_is_kept_until_the_agent_takes_it_back(title: str | None) -> None:
    found = state()
    found.title = "before"
    assert found.apply_update({"sessionUpdate": "session_info_update", "title": title})
    assert found.title == title


def test_an_info_without_a_title_changes_nothing() -> None:
    found = state()
    found.title = "before"
    assert not found.apply_update(
        {"sessionUpdate": "session_info_update", "updatedAt": "2026-01-01T00:00:00Z"}
    )
    assert found.title == "before"


def test_what_the_agent_chose_itself_is_chosen_again_in_its_next_life() -> None:
    found = state(modes=MODES, configOptions=[OPTION])
    found.apply_setting("session/set_config_option", b'{"configId":"model","value":"small"}', b"{}")
    assert found.apply_update({"sessionUpdate": "current_mode_update", "currentModeId": "code"})
    large = {"sessionUpdate": "config_option_update", "configOptions": [{**OPTION, "currentValue": "large"}]}
    assert found.apply_update(large)
    assert found.agent_updates == 2 and found.settings()["modes"]["currentModeId"] == "code"
    found.start_run("b", json.dumps({"modes": MODES, "configOptions": [OPTION]}).encode())
    assert list(found.settings_to_restore()) == [
        ("session/set_mode", {"modeId": "code"}),
        ("session/set_config_option", {"configId": "model", "value": "large"}),
    ]


def test_an_option_that_the_next_life_does_not_have_is_not_set_again() -> None:
    found = state(configOptions=[OPTION])
    found.apply_setting("session/set_config_option", b'{"configId":"model","value":"large"}', b"{}")
    found.apply_update(
        {"sessionUpdate": "config_option_update", "configOptions": ["what is this", {"id": "other"}]}
    )
    assert found.options == {"model": "large"} and list(found.settings_to_restore()) == []


@pytest.mark.parametrize("result", [b"null", b"[]", b'{"modes":[],"configOptions":{}}'])
def test_an_agent_that_opens_with_nonsense_has_neither_modes_nor_options(result: bytes) -> None:
    found = ConversationState()
    found.start_run("a", result)
    assert found.settings() == {}
    found.apply_setting("session/set_mode", b'{"modeId":"code"}', b"null")
    assert found.mode == "code" and list(found.settings_to_restore()) == []


@pytest.mark.parametrize(
    ("method", "params", "result"),
    [
        ("session/set_mode", {"modeId": 7}, {}),
        ("session/set_config_option", {"configId": "model", "value": "large"}, None),
        ("session/set_config_option", {"configId": 7, "value": "large"}, {"configOptions": "none"}),
        ("session/set_title", {"title": "x"}, {}),
    ],
)
def test_a_setting_without_sense_is_not_remembered(method: str, params: Any, result: Any) -> None:
    found = state()
    found.apply_setting(method, json.dumps(params).encode(), json.dumps(result).encode())
    assert (found.mode, found.options) == (None, {})
    assert found.update_of(method) is None


def test_others_are_told_of_a_setting_as_the_agent_would_tell_them() -> None:
    found = state(modes=MODES)
    changed = [{**OPTION, "currentValue": "large"}]
    found.apply_setting("session/set_mode", b'{"modeId":"code"}', b"{}")
    found.apply_setting(
        "session/set_config_option",
        b'{"configId":"model","value":"large"}',
        json.dumps({"configOptions": changed}).encode(),
    )
    assert found.update_of("session/set_mode") == {
        "sessionUpdate": "current_mode_update",
        "currentModeId": "code",
    }
    assert found.update_of("session/set_config_option") == {
        "sessionUpdate": "config_option_update", "configOptions": changed,
    }  # fmt: skip
    assert found.options == {"model": "large"}


@pytest.mark.parametrize(
    "update",
    [
        {"sessionUpdate": "current_mode_update", "currentModeId": 3},
        {"sessionUpdate": "config_option_update", "configOptions": None},
        {"sessionUpdate": "available_commands_update", "availableCommands": "all"},
        {"sessionUpdate": "of_tomorrow"},
        {},
    ],
)
def test_an_update_without_sense_changes_nothing(update: dict[str, Any]) -> None:
    found, before = state(), state()
    assert not found.apply_update(update)
    assert (found.mode, found.config_options, found.commands, found.agent_updates) == (
        before.mode, before.config_options, before.commands, 0,
    )  # fmt: skip


def test_commands_and_usage_are_shown_and_need_no_saving() -> None:
    found = state()
    assert not found.apply_update(
        {"sessionUpdate": "available_commands_update", "availableCommands": [{"name": "x"}]}
    )
    assert not found.apply_update({"sessionUpdate": "usage_update", "used": 5, "size": 10, "odd": 1})
    assert found.commands == [{"name": "x"}] and found.usage == {"used": 5, "size": 10}
