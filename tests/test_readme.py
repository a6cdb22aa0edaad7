"""README's examples run as they are printed, and its links lead somewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from trio_broker.config.config import load
from trio_broker.testing.processes.home import Home

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
LIMIT = 120


def blocks(language: str) -> list[str]:
    """What stands in its fences, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


TESTS, *PROGRAMS = sorted(blocks("python"), key=lambda block: "def test_" not in block)
PYTEST, *CONFIGS = sorted(blocks("toml"), key=lambda block: "tool.pytest" not in block)


def plain_env() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}


def test_the_tests_pass_in_a_project_that_is_set_up_as_it_says(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(PYTEST, encoding="utf-8")
    (tmp_path / "test_mine.py").write_text(TESTS, encoding="utf-8")
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path)]
    done = subprocess.run(
        argv, cwd=tmp_path, env=plain_env(), capture_output=True, text=True, timeout=LIMIT, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{TESTS.count('def test_')} passed" in done.stdout


@pytest.mark.parametrize(
    "fixture", ["broker", "daemon", "acp_client", "ws_client", "fake_agent", "play", "sweep"]
)
def test_each_fixture_has_a_row_and_an_example(fixture: str) -> None:
    assert re.search(rf"^\| .*`{fixture}`.* \|", README, re.MULTILINE)
    assert re.search(rf"def test_\w+\(.*\b{fixture}\b.*\)", TESTS)


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_comes_to_its_end(program: str) -> None:
    with Home() as home:
        assert home.run("up").returncode == 0
        argv = [sys.executable, "-c", program]
        done = subprocess.run(argv, env=home.env, capture_output=True, text=True, timeout=LIMIT, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert "end_turn" in done.stdout


@pytest.mark.parametrize("config", CONFIGS)
def test_a_configuration_is_one(config: str, tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(config, encoding="utf-8")
    load(file, must_exist=True)
    assert tomllib.loads(config)


def test_a_link_to_a_section_leads_to_one() -> None:
    titles = re.findall(r"^##+ (.*)$", README, re.MULTILINE)
    there = {re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in titles}
    linked = re.findall(r"\]\(#(.*?)\)", README)
    assert linked and set(linked) <= there
