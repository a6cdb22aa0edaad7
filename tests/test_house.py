"""The house: what a person finds who has just cloned it. `bin/` is tried in copies, with a made-up .venv."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import trio_broker

ROOT = Path(__file__).parent.parent
SCRIPTS = ["bin/trio-broker", "bin/test", "bin/bench", ".ci/run"]
TOOLS = [
    "sh",
    "dirname",
    "readlink",
    "cksum",
    "cat",
]  # all that the scripts may use while nothing has changed


def run(
    *argv: str | Path, cwd: Path = ROOT, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, cwd=cwd, env=env, capture_output=True, text=True, timeout=60, check=False)


def test_version_is_the_packages() -> None:
    done = run(sys.executable, "-m", "trio_broker", "--version")
    assert done.returncode == 0, done.stderr
    assert trio_broker.__version__ in done.stdout.split()[-1]


@pytest.mark.parametrize("command", ["bin/trio-broker demo", "bin/test"])
def test_the_readme_has_the_main_job_and_the_tests(command: str) -> None:
    assert command in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_can_be_run(script: str) -> None:
    assert os.access(ROOT / script, os.X_OK)


def test_constraints_are_exact_and_name_no_address() -> None:
    text = (ROOT / "tests/constraints.txt").read_text(encoding="utf-8")
    pins = [line for line in text.splitlines() if not line.startswith("#")]
    assert "://" not in text
    assert all(pin.count("==") == 1 and " " not in pin for pin in pins)
    assert len({pin.partition("==")[0] for pin in pins}) == len(pins)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A checkout with what bin/ needs, and PATH in `tools` with no Python."""
    root = tmp_path / "a clone"
    (root / "tests").mkdir(parents=True)
    shutil.copytree(ROOT / "bin", root / "bin")
    for name in ("pyproject.toml", "tests/constraints.txt"):
        shutil.copy(ROOT / name, root / name)
    tools = root / "tools"
    tools.mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found
        (tools / tool).symlink_to(found)
    return root


def path_only(root: Path) -> dict[str, str]:
    return {"PATH": str(root / "tools")}


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def pretend_installed(root: Path, kind: str) -> None:
    script(root / ".venv/bin/trio-broker", 'printf "%s|" "$PWD" "$@"')
    script(root / ".venv/bin/python", 'printf "%s|" "$PWD" "$@"')
    done = run("sh", "-c", 'root=$1; . "$1/bin/venv.sh"; stamp', "sh", root)
    (root / f".venv/stamp-{kind}").write_text(done.stdout, encoding="utf-8")


def test_once_installed_it_starts_without_python_where_it_was_called(clone: Path, tmp_path: Path) -> None:
    pretend_installed(clone, "run")
    link = tmp_path / "trio-broker"
    link.symlink_to(clone / "bin/trio-broker")
    done = run(link, "prompt", "two words", "", cwd=tmp_path, env=path_only(clone))
    assert (done.stdout, done.stderr) == (f"{tmp_path}|prompt|two words||", "")


def test_the_test_command_runs_in_the_checkout_and_passes_its_arguments_on(
    clone: Path, tmp_path: Path
) -> None:
    pretend_installed(clone, "dev")
    done = run(clone / "bin/test", "-k", "a or b", cwd=tmp_path, env=path_only(clone))
    assert (done.stdout, done.stderr) == (f"{clone}|-m|pytest|-k|a or b|", "")


@pytest.mark.parametrize("changed", ["pyproject.toml", "tests/constraints.txt"])
def test_it_installs_again_when_that_changed(clone: Path, changed: str) -> None:
    pretend_installed(clone, "run")
    with (clone / changed).open("a", encoding="utf-8") as file:
        file.write("# one more line\n")
    assert_wants_python(run(clone / "bin/trio-broker", env=path_only(clone)))


def test_it_installs_again_when_it_was_moved(clone: Path) -> None:
    pretend_installed(clone, "run")
    moved = clone.rename(clone.parent / "moved")
    assert_wants_python(run(moved / "bin/trio-broker", env=path_only(moved)))


def test_installed_to_run_is_not_installed_to_test(clone: Path) -> None:
    pretend_installed(clone, "run")
    assert_wants_python(run(clone / "bin/test", env=path_only(clone)))


def test_a_python_that_is_too_old_is_none(clone: Path) -> None:
    script(clone / "tools/python3", "exit 1  # what 3.10 says to `version_info < (3, 11)`")
    assert_wants_python(run(clone / "bin/trio-broker", env=path_only(clone)))


def assert_wants_python(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 1
    assert done.stdout == ""
    assert "needs Python 3.11 or newer" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_python_without_venv_is_told_what_to_install(clone: Path) -> None:
    poor = script(
        clone / "tools/poor", f'case "$*" in *ensurepip*) exit 1;; esac; exec "{sys.executable}" "$@"'
    )
    probe = "import install, sys; sys.executable = sys.argv[1]; sys.exit(install.main('run', 'a stamp'))"
    done = run(sys.executable, "-c", probe, poor, cwd=clone / "bin")
    assert done.returncode == 1
    assert "apt install python3-venv" in done.stderr
    assert not (clone / ".venv").exists()
