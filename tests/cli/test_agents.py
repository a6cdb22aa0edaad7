"""`agents show`, `test`, `install` and `remove`: none of them needs a broker, and none a network here."""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from trio_broker.testing.processes.home import FAKE, Home, eventually, is_running

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


def test_show_tells_how_an_agent_is_started_and_hides_its_keys(home: Home) -> None:
    home.config.write_text(
        '[agents.mine]\ncommand = "/nowhere/mine --acp"\nenv = { KEY = "hidden" }\n'
        'inherit_env = ["PATH", "NO_SUCH_KEY"]\ncwd = "/w"\nstart_timeout = 7\n',
        encoding="utf-8",
    )
    done = home.run("agents", "show", "mine")
    assert done.stdout == (
        "agent:       mine\n"
        "command:     /nowhere/mine --acp\n"
        f"from:        config ({home.config})\n"
        "program:     /nowhere/mine is not in PATH\n"
        "also called: -\n"
        "env:         KEY, PATH, NO_SUCH_KEY (not set here)\n"
        "cwd:         /w\n"
        "timeout:     7 s to start\n"
    )
    found = home.json("agents", "show", "mine")
    assert (found["env"], found["inheritEnv"]) == (["KEY"], {"PATH": True, "NO_SUCH_KEY": False})
    assert "hidden" not in json.dumps(found)


def test_show_by_nickname_tells_what_can_be_installed(home: Home) -> None:
    done = home.run("agents", "show", "claude-code", env={"PATH": os.path.dirname(sys.executable)})
    lines = done.stdout.splitlines()
    assert lines[0] == "agent:       claude"
    assert lines[2] == "from:        built-in"
    assert lines[-1].startswith("installable: npm @agentclientprotocol/claude-agent-acp@")
    assert lines[-1].endswith("`trio-broker agents install claude`")


def test_test_shows_what_an_agent_offers(home: Home, tmp_path: Path) -> None:
    done = home.run("agents", "test", "demo", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    shown = dict(line.split(":", 1) for line in done.stdout.splitlines())
    assert list(shown) == [
        *("command", "agent", "protocol", "initialize", "capabilities", "login", "session", "modes")
    ]
    assert shown["modes"].strip() == "*ask, code"
    assert "sessionCapabilities.resume" in shown["capabilities"]
    found = home.json("agents", "test", "demo")
    assert (found["ok"], found["error"], found["loginNeeded"]) == (True, None, False)
    assert 0 < found["seconds"]["initialize"] <= found["seconds"]["session"]
    assert not home.socket.exists(), "no broker was needed"


@pytest.mark.parametrize(
    ("command", "says", "shows", "stderr"),
    [
        ([*FAKE, "--auth"], "Log in with the agent's own program", "needs a login", []),
        (
            [*FAKE, "--exit-at-start", "3", "--stderr", "no key"],
            "3 before it had a session; its last words: no key",
            "",
            ["no key"],
        ),
        ([*FAKE, "--protocol", "7"], "speaks ACP version 7", "", []),
        (  # a shell: it has said it long before the time is over, on whatever machine
            ["sh", "-c", "echo still loading >&2; cat >/dev/null"],
            "gave no session within 1 s",
            "",
            ["still loading"],
        ),
    ],
    ids=["login", "exit", "version", "time"],
)
def test_an_agent_that_fails_is_exit_1_with_what_to_do(
    home: Home, command: list[str], says: str, shows: str, stderr: list[str]
) -> None:
    timeout = ["--timeout", "1"] if "no session within" in says else []
    done = home.run("agents", "test", *timeout, "--", *command)
    assert done.returncode == 1
    assert says in done.stderr and shows in done.stdout
    found = json.loads(home.run("agents", "test", "--format", "json", *timeout, "--", *command).stdout)
    assert found["ok"] is False and found["error"]
    assert found["loginNeeded"] is ("--auth" in command)
    assert found["stderr"] == stderr


def test_test_leaves_no_process_behind(home: Home, tmp_path: Path) -> None:
    log = tmp_path / "log"
    home.run("agents", "test", "--", *FAKE, "--ignore-eof", "--ignore-term", "--log", str(log))
    pids = {int(line.split()[0]) for line in log.read_text(encoding="utf-8").splitlines()}
    assert len(pids) == 1
    eventually(lambda: not any(map(is_running, pids)))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["test"], "say which: `trio-broker agents test NAME`"),
        (["test", "nobody"], "there is no agent 'nobody'"),
        (["test", "demo", "--cwd", "/no/such"], "there is no directory /no/such"),
        (["show", "nobody"], "there is no agent 'nobody'"),
        (["install", "nobody"], "no package is known for 'nobody', only for auggie, claude"),
        (["install", "x", "--package", "npm:tiny"], "names no package of one version; write npm:@scope"),
        (["install", "x", "--package", "npm:tiny@latest"], "names no package of one version"),
        (["install", "x", "--package", "gem:tiny@1"], "names no package of one version"),
        (["install", "../x", "--package", "npm:tiny@1.0.0"], "is no name to install under"),
        (["install", "x", "--package", "npm:tiny@1.0.0", "--args", "it's"], "has no closing quotation"),
        (["remove", "claude"], "'claude' is not installed; installed: nothing"),
    ],
)
def test_a_mistake_is_exit_2_and_says_what_to_write(home: Home, words: list[str], says: str) -> None:
    done = home.run("agents", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr and "Traceback" not in done.stderr


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
