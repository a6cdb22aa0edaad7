"""The paths and the configuration that every command gets, and what is said when they are wrong."""

from __future__ import annotations

from pathlib import Path

from trio_broker.testing.processes.home import CONFIG, Home


def test_a_broken_configuration_is_told_at_once_and_starts_nothing(home: Home) -> None:
    home.config.write_text('[broker]\nqueue = "many"\nmax_sesions = 3\n', encoding="utf-8")
    for words in (["prompt", "hi"], ["up"], ["sessions", "new"], ["acp"]):
        done = home.run(*words)
        assert (done.returncode, done.stdout) == (2, "")
        assert f"{home.config}: broker.queue: expected a whole number, not a string 'many'" in done.stderr
        assert f"{home.config}: broker.max_sesions: unknown key; did you mean max_sessions?" in done.stderr
    assert not home.socket.exists()


def test_a_configuration_that_breaks_later_does_not_keep_the_daemon_from_being_looked_at(home: Home) -> None:
    home.run("up")
    home.config.write_text("[broker\n", encoding="utf-8")
    assert home.run("status").returncode == 0
    assert home.run("down").returncode == 0


def test_a_home_with_too_long_a_path_is_told_with_a_way_out(home: Home, tmp_path: Path) -> None:
    done = home.run("status", env={"TRIO_BROKER_HOME": str(tmp_path / ("x" * 100))})
    assert done.returncode == 2
    assert "set TRIO_BROKER_HOME" in done.stderr and "shorter path" in done.stderr


def test_another_configuration_file_by_option_and_by_variable(home: Home, tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text(
        CONFIG.replace("agents.fake", "agents.mine").replace('"fake"', '"mine"'), encoding="utf-8"
    )
    assert home.run("--config", str(other), "mine", "say hi").stdout.startswith("hi\n")
    assert home.status()["sessions"][0]["agent"] == "mine"  # the daemon was started with it
    by_variable = home.run("config", "show", env={"TRIO_BROKER_CONFIG": str(other)})
    assert 'default_agent = "mine"' in by_variable.stdout
