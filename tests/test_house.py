"""The house: what a person finds who has just cloned it. `bin/` is tried in copies, with a made-up .venv."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import trio_broker
from trio_broker.cli.daemon import doctor

ROOT = Path(__file__).parent.parent
SCRIPTS = ["bin/trio-broker", "bin/test", "bin/test-on", "bin/bench", ".ci/run"]
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


def pretend_installed(root: Path, kind: str, venv: str = ".venv") -> None:
    script(root / venv / "bin/trio-broker", 'printf "%s|" "$PWD" "$@"')
    script(root / venv / "bin/python", 'printf "%s|" "$PWD" "$@"')
    done = run("sh", "-c", 'root=$1; . "$1/bin/venv.sh"; stamp', "sh", root)
    (root / venv / f"stamp-{kind}").write_text(done.stdout, encoding="utf-8")


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


def test_the_supported_versions_are_the_same_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = [
        re.fullmatch(r"Programming Language :: Python :: (3)\.(\d+)", one) for one in project["classifiers"]
    ]
    versions = [(int(one[1]), int(one[2])) for one in found if one]
    assert versions == [(3, minor) for minor in range(doctor.OLDEST[1], doctor.NEWEST[1] + 1)]
    assert project["requires-python"] == ">={}.{}".format(*doctor.OLDEST)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "with Python {}.{} to {}.{};".format(*doctor.OLDEST, *doctor.NEWEST) in readme


@pytest.fixture
def pyenv(clone: Path) -> Path:
    """The home of a user whose pyenv has made-up Pythons, and what bin/test-on needs in PATH."""
    for tool in ("grep", "ls", "sed", "sort"):
        (clone / "tools" / tool).symlink_to(shutil.which(tool) or "")
    home = clone.parent / "a home"
    for release in ("3.13.9", "3.13.10", "3.13.11t", "3.12.1", "3.14-dev"):
        made_up(home / f".pyenv/versions/{release}/bin/python", release)
    script(home / ".pyenv/versions/3.13.12/bin/python", "exit 1  # one that does not run")
    return home


def made_up(path: Path, release: str) -> Path:
    """A Python that says its version; asked to install, it says where and for which interpreter."""
    version = ".".join(release.split(".")[:2])
    install = 'echo "$TRIO_BROKER_VENV" "$0"; exit 9'
    return script(path, f"case $1 in -c) echo {version};; -V) echo Python {release};; *) {install};; esac")


def run_on(clone: Path, home: Path, *words: str, path: str = "") -> subprocess.CompletedProcess[str]:
    env = {"PATH": f"{path}{clone / 'tools'}", "HOME": str(home)}
    return run(clone / "bin/test-on", *words, cwd=home, env=env)


def test_tests_on_another_python_use_the_newest_patch_and_a_venv_of_its_own(clone: Path, pyenv: Path) -> None:
    python = pyenv / ".pyenv/versions/3.13.10/bin/python"
    done = run_on(clone, pyenv, "3.13", "-k", "a or b")
    said = f"trio-broker: the tests run on Python 3.13.10, {python}\n"
    assert done.stdout.startswith(said) and done.stdout.endswith(f"\n.venv-3.13 {python}\n")
    assert done.returncode == 9
    pretend_installed(clone, "dev", ".venv-3.13")
    done = run_on(clone, pyenv, "3.13", "-k", "a or b")
    assert (done.stdout, done.stderr) == (f"{said}{clone}|-m|pytest|-k|a or b|", "")


def test_a_python_in_path_comes_first_if_it_runs(clone: Path, pyenv: Path) -> None:
    script(clone.parent / "shims/python3.13", "exit 127  # pyenv's, of a version that is not active")
    other = made_up(clone.parent / "other/python3.13", "3.13.2")
    done = run_on(clone, pyenv, "3.13", path=f"{clone.parent / 'shims'}:{other.parent}:")
    assert f"Python 3.13.2, {other}\n" in done.stdout
    done = run_on(clone, pyenv, "3.13", path=f"{clone.parent / 'shims'}:")
    assert "Python 3.13.10, " in done.stdout


def test_a_python_that_is_not_there_is_told_with_the_places(clone: Path, pyenv: Path) -> None:
    done = run_on(clone, pyenv, "3.14")
    assert (done.returncode, done.stdout) == (1, "")
    assert "no Python 3.14 found: no python3.14 in PATH runs" in done.stderr
    assert f"{pyenv}/.pyenv/versions/3.14.*/bin/python" in done.stderr


@pytest.mark.parametrize("words", [(), ("3.10",), ("python3.13",), ("-k", "x")])
def test_a_version_is_wanted_that_is_supported(clone: Path, pyenv: Path, words: tuple[str, ...]) -> None:
    done = run_on(clone, pyenv, *words)
    assert (done.returncode, done.stdout) == (2, "") and done.stderr.startswith("usage: bin/test-on VERSION ")


@pytest.mark.parametrize(("first", "newest"), [("3.11", "3.13.10"), ("3.13", "3.12.1")])
def test_the_newest_python_is_another_one_than_that_of_the_venv(
    clone: Path, pyenv: Path, first: str, newest: str
) -> None:
    made_up(clone / ".venv/bin/python", f"{first}.0")
    done = run_on(clone, pyenv, "newest")
    assert f"the tests run on Python {newest}, " in done.stdout
    assert f".venv-{newest.rpartition('.')[0]} " in done.stdout


def test_where_there_is_no_other_python_nothing_fails(clone: Path, pyenv: Path) -> None:
    shutil.rmtree(pyenv / ".pyenv")
    made_up(clone / ".venv/bin/python", "3.11.7")
    done = run_on(clone, pyenv, "newest")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(
        "trio-broker: no other Python found beside 3.11: looked for 3.14 3.13 3.12 3.11 in "
    )
