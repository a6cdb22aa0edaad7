"""`agents install` and `remove`, with npm and pip; npm is a script where Node is not needed."""

from __future__ import annotations

import io
import json
import os
import shlex
import shutil
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import trio

from trio_broker.agent.installed import InstalledAgents, Package
from trio_broker.cli.agents.install import InstallFailed, install
from trio_broker.errors import Misuse
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
def installed(tmp_path: Path) -> InstalledAgents:
    return InstalledAgents(tmp_path / "agents")


def put_npm(folder: Path, script: str) -> str:
    """A PATH in which that script is npm."""
    folder.mkdir(exist_ok=True)
    npm = folder / "npm"
    npm.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    npm.chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


@pytest.mark.parametrize("bins", ['"cli.js"', '{"tiny": "cli.js"}', '{"tiny": "cli.js", "other": "o.js"}'])
async def test_the_program_is_the_only_one_or_the_one_of_that_name(
    bins: str, installed: InstalledAgents, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", put_npm(tmp_path / "bin", INSTALLS.format(bin=bins)))
    record = await install("tiny", PACKAGE, installed)
    assert (record.package, record.version) == ("@me/tiny", "1.2.3")
    assert record.program == str(Path(record.folder) / "node_modules" / ".bin" / "tiny")
    assert installed.find("tiny") == record


async def test_of_several_programs_none_is_guessed(
    installed: InstalledAgents, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bins = '{"tiny": "cli.js", "other": "o.js"}'
    monkeypatch.setenv("PATH", put_npm(tmp_path / "bin", INSTALLS.format(bin=bins)))
    with pytest.raises(Misuse, match=r"1\.2\.3 are: other, tiny; choose with --program"):
        await install("mine", PACKAGE, installed)
    assert list(installed.directory.iterdir()) == [], "nothing stays of it"


async def test_an_installer_that_fails_is_quoted_and_nothing_stays_of_it(
    installed: InstalledAgents, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
    installed: InstalledAgents, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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


AGENT_JS = """#!/usr/bin/env node
const readline = require('readline')
const results = {
  initialize: { protocolVersion: 1, agentInfo: { name: 'tiny', version: '9.8.7' } },
  'session/new': { sessionId: 's', modes: { currentModeId: 'b', availableModes: [{ id: 'a' }, { id: 'b' }] } },
}
readline.createInterface({ input: process.stdin }).on('line', (line) => {
  const { id, method } = JSON.parse(line)
  console.log(JSON.stringify({ jsonrpc: '2.0', id, result: results[method] || { stopReason: 'end_turn' } }))
})
"""


def npm_package(folder: Path, version: str = "1.2.3") -> Path:
    """A tarball as npm packs it, of an agent without dependencies and with two programs."""
    about = {"name": "tiny", "version": version, "bin": {"tiny-acp": "agent.js", "other": "agent.js"}}
    path = folder / f"tiny-{version}.tgz"
    with tarfile.open(path, "w:gz") as tar:
        for name, text in (("package.json", json.dumps(about)), ("agent.js", AGENT_JS)):
            info = tarfile.TarInfo(f"package/{name}")
            info.size, info.mode = len(text), 0o755
            tar.addfile(info, io.BytesIO(text.encode()))
    return path


def wheel(folder: Path) -> Path:
    """A wheel of an agent: the scripted one, under a name of its own."""
    path = folder / "tiny_agent-2.0-py3-none-any.whl"
    about = "tiny_agent-2.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            "tiny_agent.py",
            f"import os, sys\n\ndef main():\n    os.execv({FAKE[0]!r}, {list(FAKE)!r} + sys.argv[1:])\n",
        )
        archive.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: tiny-agent\nVersion: 2.0\n")
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{about}/entry_points.txt", "[console_scripts]\ntiny-agent = tiny_agent:main\n")
        archive.writestr(f"{about}/RECORD", "")
    return path


@pytest.mark.node
def test_what_npm_installed_is_preferred_by_cli_and_running_broker_until_it_is_removed(
    home: Home, tmp_path: Path
) -> None:
    home.run("up")
    package = f"npm:{npm_package(tmp_path)}"
    several = home.run("agents", "install", "gemini", "--package", package)
    assert several.returncode == 2
    assert "the programs of tiny 1.2.3 are: other, tiny-acp; choose with --program" in several.stderr
    words = ["agents", "install", "gemini", "--package", package, "--program", "tiny-acp", "--args", "-x"]
    record = home.json(*words)
    assert (record["package"], record["version"], record["args"]) == ("tiny", "1.2.3", ["-x"])
    assert os.access(record["program"], os.X_OK)
    found = home.json("agents", "show", "gemini-cli")
    assert (found["source"], found["command"]) == ("installed", [record["program"], "-x"])
    tested = home.json("agents", "test", "gemini")
    assert tested["agentInfo"] == {"name": "tiny", "version": "9.8.7"}
    assert home.run("sessions", "ensure", "-a", "gemini", "-s", "one").returncode == 0
    refused = home.run("agents", "remove", "gemini")
    assert refused.returncode == 2 and "1 sessions run it (one): close them first" in refused.stderr
    assert home.json("agents", "remove", "gemini", "--force") == {"action": "agent_removed", "name": "gemini"}
    assert home.json("agents", "show", "gemini")["source"] == "built-in"
    assert list((home.path / "data" / "agents").iterdir()) == []


@pytest.mark.node
def test_an_installation_that_fails_changes_nothing(home: Home, tmp_path: Path) -> None:
    words = ["agents", "install", "mine", "--program", "tiny-acp", "--package"]
    assert home.run(*words, f"npm:{npm_package(tmp_path)}").returncode == 0
    broken = tmp_path / "broken.tgz"
    broken.write_bytes(b"no tar")
    done = home.run(*words, f"npm:{broken}")
    assert done.returncode == 1
    assert "npm failed with exit code" in done.stderr and "Nothing was changed" in done.stderr
    assert home.json("agents", "show", "mine")["installed"]["version"] == "1.2.3"
    assert len(list((home.path / "data" / "agents").iterdir())) == 2, "its folder and its record"
    newer = home.json(*words, f"npm:{npm_package(tmp_path, '2.0.0')}")
    assert home.json("agents", "show", "mine")["command"] == [newer["program"]]


def test_pip_installs_into_a_venv_of_the_agents_own(home: Home, tmp_path: Path) -> None:
    record = home.json("agents", "install", "mine", "--package", f"pypi:{wheel(tmp_path)}")
    assert (record["package"], record["version"]) == ("tiny-agent", "2.0")
    assert Path(record["program"]) == Path(record["folder"]) / "bin" / "tiny-agent"
    assert home.json("agents", "test", "mine")["agentInfo"]["name"] == "fake"
    assert any(one["name"] == "mine" for one in home.json("agents", "list")["agents"])


def test_a_configured_agent_comes_before_an_installed_one(home: Home, tmp_path: Path) -> None:
    done = home.run("agents", "install", "fake", "--package", f"pypi:{wheel(tmp_path)}")
    assert done.returncode == 0
    assert f"[agents.fake] in {home.config} comes first" in done.stderr
    assert home.json("agents", "show", "fake")["source"] == "config"


def test_without_npm_it_is_said_where_npm_comes_from(home: Home, tmp_path: Path) -> None:
    if (npm := shutil.which("npm")) and os.path.dirname(npm) == os.path.dirname(sys.executable):
        pytest.skip("npm is where Python is")
    done = home.run("agents", "install", "pi", env={"PATH": str(tmp_path)})
    assert done.returncode == 2 and "npm is not in PATH; install Node.js" in done.stderr


@pytest.mark.node
def test_a_person_sees_how_it_goes_and_nothing_stays_of_it(home: Home, tmp_path: Path) -> None:
    npm = tmp_path / "bin" / "npm"
    npm.parent.mkdir()
    npm.write_text(
        f"#!/bin/sh\necho fetching it\nwhile [ ! -e {tmp_path}/go ]; do sleep 0.05; done\nexit 7\n"
    )
    npm.chmod(0o755)
    home.env["PATH"] = f"{npm.parent}{os.pathsep}{home.env['PATH']}"
    with home.terminal("agents", "install", "pi") as person:
        person.see("[install pi] ")
        person.see(": fetching it")
        (tmp_path / "go").touch()
        person.see("\r\x1b[K")
        assert person.end() == 1
    assert "[install" not in home.run("agents", "install", "pi").stderr, "no terminal, no progress"
