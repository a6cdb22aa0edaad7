"""Where the files of the broker are, under any environment."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from trio_broker.config.paths import Paths
from trio_broker.errors import ConfigError


def test_home_moves_everything() -> None:
    paths = Paths.from_env({"TRIO_BROKER_HOME": "/srv/b", "XDG_RUNTIME_DIR": "/run/x", "HOME": "/h"})
    assert paths == Paths(
        config=Path("/srv/b/config.toml"),
        socket=Path("/srv/b/run/broker.sock"),
        lock=Path("/srv/b/run/broker.lock"),
        journal_lock=Path("/srv/b/state/journal.lock"),
        start_lock=Path("/srv/b/state/start.lock"),
        log=Path("/srv/b/state/broker.log"),
        runtime=Path("/srv/b/run"),
        state=Path("/srv/b/state"),
        journal=Path("/srv/b/state/journal.sqlite"),
        tokens=Path("/srv/b/state/tokens.json"),
        agents=Path("/srv/b/data/agents"),
    )


def test_the_usual_places() -> None:
    paths = Paths.from_env({"HOME": "/h", "XDG_RUNTIME_DIR": "/run/user/7"})
    assert paths.config == Path("/h/.config/trio-broker/config.toml")
    assert paths.socket == Path("/run/user/7/trio-broker/broker.sock")
    assert paths.log == Path("/h/.local/state/trio-broker/broker.log")
    assert paths.agents == Path("/h/.local/share/trio-broker/agents")
    xdg = Paths.from_env({"XDG_CONFIG_HOME": "/c", "XDG_STATE_HOME": "/s", "XDG_RUNTIME_DIR": "/r"})
    assert (xdg.config, xdg.state) == (Path("/c/trio-broker/config.toml"), Path("/s/trio-broker"))


def test_without_a_runtime_directory_there_is_one_nevertheless() -> None:
    assert Paths.from_env({"HOME": "/h"}).runtime.is_absolute()


def test_another_file_may_be_named() -> None:
    env = {"HOME": "/h", "TRIO_BROKER_HOME": "~/b", "TRIO_BROKER_CONFIG": "~/c.toml"}
    paths = Paths.from_env(env)
    assert (paths.config, paths.config_named, paths.runtime) == (Path("/h/c.toml"), True, Path("/h/b/run"))
    option = Paths.from_env(env, config="d.toml")
    assert (option.config, option.config_named) == (Path("d.toml").absolute(), True)


def test_a_socket_path_too_long_for_the_system_is_told() -> None:
    with pytest.raises(ConfigError, match=r"has 1\d\d bytes.*set TRIO_BROKER_HOME"):
        Paths.from_env({"TRIO_BROKER_HOME": "/" + "x" * 100})
    longest = "/" + "x" * (107 - len("//run/broker.sock"))
    assert len(os.fsencode(Paths.from_env({"TRIO_BROKER_HOME": longest}).socket)) == 107
