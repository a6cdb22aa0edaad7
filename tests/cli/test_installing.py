"""What `agents install` makes of what npm did; npm is a script here, so that neither Node nor a network is needed."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import pytest
import trio

from trio_broker.cli.installing import InstallFailed, install
from trio_broker.errors import Misuse
from trio_broker.installed import Installed, Package
from trio_broker.testing.processes.home import FAKE, Home, is_running

PACKAGE = Package("npm", "@me/tiny", "1.2.3")
INSTALLS = """
mkdir -p "$3/node_modules/@me/tiny" "$3/node_modules/.bin"
echo '{{"dependencies": {{"@me/tiny": "1.2.3"}}}}' > "$3/package.json"
echo '{{"version": "1.2.3", "bin": {bin}}}' > "$3/node_modules/@me/tiny/package.json"
printf '#!/bin/sh\\nexit 9\\n' > "$3/node_modules/.bin/tiny"
chmod +x "$3/node_modules/.bin/tiny"
echo added 1 package
"""
FAILS = "echo 'npm error 404 no such package'; exit 7"


@pytest.fixture
def installed(tmp_path: Path) -> Installed:
    return Installed(tmp_path / "agents")


def put_npm(folder: Path, script: str) -> str:
    """A PATH in which that script is npm."""
    folder.mkdir(exist_ok=True)
    npm = folder / "npm"
    npm.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    npm.chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


@pytest.mark.parametrize("bins", ['"cli.js"', '{"tiny": "cli.js"}', '{"tiny": "cli.js", "other": "o.js"}'])
async def test_the_program_is_the_only_one_or_the_one_of_that_name(
    bins: str, installed: Installed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", put_npm(tmp_path / "bin", INSTALLS.format(bin=bins)))
    record = await install("tiny", PACKAGE, installed)
    assert (record.package, record.version) == ("@me/tiny", "1.2.3")
    assert record.program == str(Path(record.folder) / "node_modules" / ".bin" / "tiny")
    assert installed.find("tiny") == record


async def test_of_several_programs_none_is_guessed(
    installed: Installed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bins = '{"tiny": "cli.js", "other": "o.js"}'
    monkeypatch.setenv("PATH", put_npm(tmp_path / "bin", INSTALLS.format(bin=bins)))
    with pytest.raises(Misuse, match=r"1\.2\.3 are: other, tiny; choose with --program"):
        await install("mine", PACKAGE, installed)
    assert list(installed.directory.iterdir()) == [], "nothing stays of it"


async def test_an_installer_that_fails_is_quoted_and_nothing_stays_of_it(
    installed: Installed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", put_npm(tmp_path / "bin", FAILS))
    with pytest.RaisesGroup(InstallFailed, flatten_subgroups=True) as caught:
        await install("tiny", PACKAGE, installed)
    assert caught.value.exceptions[0].message == (
        "npm failed with exit code 7; its last words:\nnpm error 404 no such package\n"
        "Nothing was changed; mend what it says, then try again."
    )
    assert list(installed.directory.iterdir()) == []


async def test_a_cancel_kills_the_installer(
    installed: Installed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = tmp_path / "pid"
    monkeypatch.setenv(
        "PATH", put_npm(tmp_path / "bin", f"echo $$ > {pid}.new; mv {pid}.new {pid}; sleep 600")
    )
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(install, "tiny", PACKAGE, installed)
            while not pid.exists():  # noqa: ASYNC110  # the system gives no event for it
                await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
    assert not is_running(int(pid.read_text()))
    assert list(installed.directory.iterdir()) == []


def test_an_agent_is_installed_shown_and_removed(home: Home, tmp_path: Path) -> None:
    home.env["PATH"] = put_npm(tmp_path / "bin", INSTALLS.format(bin='{"tiny": "cli.js"}'))
    done = home.run("agents", "install", "mine", "--package", "npm:@me/tiny@1.2.3", "--program", "tiny")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == (
        "npm @me/tiny 1.2.3 is agent mine now\nsee what it offers: `trio-broker agents test mine`\n"
    )
    assert "installed:   npm @me/tiny 1.2.3, on 20" in home.run("agents", "show", "mine").stdout
    table = '[agents.mine]\ncommand = "/nowhere/mine"\n'
    home.config.write_text(table, encoding="utf-8")
    assert home.run("agents", "show", "mine").stdout.endswith("the configuration comes first\n")
    removed = home.run("agents", "remove", "mine")
    assert (removed.returncode, removed.stderr) == (0, "agent mine is removed\n")
    again = home.run("agents", "remove", "mine")
    assert again.returncode == 2 and "'mine' is not installed; installed: nothing" in again.stderr


def test_an_agent_that_sessions_run_is_not_removed(home: Home, tmp_path: Path) -> None:
    """The program that is installed is the scripted agent; npm has no part in that."""
    script = INSTALLS.format(bin='{"tiny": "cli.js"}').replace("exit 9", f"exec {shlex.join(FAKE)}")
    home.env["PATH"] = put_npm(tmp_path / "bin", script)
    home.run("agents", "install", "mine", "--package", "npm:@me/tiny@1.2.3")
    assert home.run("sessions", "ensure", "-a", "mine", "-s", "one").returncode == 0
    refused = home.run("agents", "remove", "mine")
    assert refused.returncode == 2
    assert "1 sessions run it (one): close them first, or give --force" in refused.stderr
    assert home.json("agents", "remove", "mine", "--force") == {"action": "agent_removed", "name": "mine"}
