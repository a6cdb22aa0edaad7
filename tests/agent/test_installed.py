"""What is installed: records that are damaged are none, names that are none are refused, old folders go."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from trio_broker.agent.installed import InstalledAgent, InstalledAgents
from trio_broker.errors import Misuse


@pytest.fixture
def installed(tmp_path: Path) -> InstalledAgents:
    return InstalledAgents(tmp_path / "agents")


def install(installed: InstalledAgents, name: str, program: str = sys.executable) -> InstalledAgent:
    folder = installed.new_folder(name)
    record = InstalledAgent(name, "npm", name, "1.2.3", program, ("-x",), str(folder), 0.0)
    installed.save(record)
    return record


def test_what_was_kept_is_found_until_it_is_removed(installed: InstalledAgents) -> None:
    assert installed.names() == []
    record = install(installed, "mine")
    assert installed.find("mine") == record and record.argv == (sys.executable, "-x")
    assert installed.names() == ["mine"]
    assert installed.remove("mine") and not installed.remove("mine")
    assert [*installed.directory.iterdir()] == []


def test_the_folder_of_the_last_installation_stays_as_it_may_run_and_earlier_ones_go(
    installed: InstalledAgents,
) -> None:
    folders = [Path(install(installed, "mine").folder) for _ in range(3)]
    assert [folder.exists() for folder in folders] == [False, True, True]


@pytest.mark.parametrize("name", ["", "../mine", "a/b", ".hidden", "-x", "ü"])
def test_a_name_that_is_none_is_found_nowhere_and_refused(installed: InstalledAgents, name: str) -> None:
    assert installed.find(name) is None and not installed.remove(name)
    with pytest.raises(Misuse, match="is no name to install under: use letters"):
        installed.new_folder(name)


@pytest.mark.parametrize("record", ["", "[]", "{}", '{"args": []}', '{"args": [], "odd": 1}'])
def test_a_damaged_record_is_as_none(installed: InstalledAgents, record: str) -> None:
    install(installed, "mine")
    (installed.directory / "mine.json").write_text(record)
    assert installed.find("mine") is None and installed.names() == []


def test_a_program_that_is_gone_is_as_not_installed(installed: InstalledAgents, tmp_path: Path) -> None:
    install(installed, "mine", str(tmp_path / "gone"))
    assert installed.find("mine") is None and installed.remove("mine")


def test_a_directory_that_can_not_be_written_is_told_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "agents").write_text("a file")
    with pytest.raises(Misuse, match=r"can't be written: .*; set TRIO_BROKER_HOME to a directory of yours"):
        InstalledAgents(tmp_path / "agents").new_folder("mine")
