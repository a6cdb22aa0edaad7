"""`doctor`: well or broken, with and without a broker, and a mend for whatever is wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from trio_broker import __version__
from trio_broker.agent import process_tags
from trio_broker.cli.daemon import doctor
from trio_broker.cli.state import State
from trio_broker.testing.processes.home import FAKE, LIMIT, Home, eventually

NO_PROGRAMS = "/nonexistent"  # a PATH without agents, so that a test looks at its own only


def findings(home: Home, *words: str, code: int) -> dict[str, tuple[str, str, str]]:
    """State, text and mend of each thing that was looked at; the exit code has to be `code`."""
    done = home.run("doctor", *words, "--format", "json", env={"PATH": NO_PROGRAMS})
    assert done.returncode == code, done.stderr
    told = json.loads(done.stdout)
    assert told["ok"] is (code == 0)
    assert done.stderr == "" if code == 0 else "broken; the mend is told with each" in done.stderr
    found = {one["what"]: (one["state"], one["text"], one["mend"]) for one in told["findings"]}
    assert all(bool(mend) is (state != "ok") for state, _, mend in found.values()), "each has its mend"
    return found


def test_a_fresh_home_is_well_and_stays_as_it_was(home: Home) -> None:
    done = home.run("doctor", "--no-agents", env={"PATH": NO_PROGRAMS})
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    kept = ("config", "state", "runtime", "agents", "broker", "journal", "orphans", "node", "mend:")
    assert [line for line in lines if set(line.split()[:2]) & set(kept)] == [
        f"ok      config          {home.config}, 1 agent",
        f"ok      state           {home.path}/state (is made when it is needed)",
        f"ok      runtime         {home.path}/run (is made when it is needed)",
        f"ok      agents          {home.path}/data/agents (is made when it is needed)",
        "ok      broker          none runs; the next prompt starts one",
        f"ok      journal         none yet at {home.path}/state/journal.sqlite",
        "ok      orphans         none",
        "note    node            node and npx are not in PATH",
        "                        mend: install Node.js for agents that need it",
    ]
    assert [path.name for path in home.path.iterdir()] == ["config.toml"]


def test_a_running_broker_is_looked_at_and_not_disturbed(home: Home) -> None:
    home.run("prompt", "hang", "--no-wait", "-s", "busy")
    home.until("busy", "working")
    found = findings(home, code=0)
    assert found["broker"][1] == f"{__version__} (pid {home.status()['pid']}) at {home.socket}"
    assert found["journal"][1].endswith(", whole")
    assert found["agent fake"][0] == "ok" and found["agent fake"][1].startswith("1.0, in ")
    assert home.session("busy")["phase"] == "working"


def test_each_agent_that_does_not_answer_is_told_and_none_holds_up_the_others(home: Home) -> None:
    agents = {
        "dumb": [*FAKE, "--no-start"],
        "gone": ["no-such-program"],
        "dead": [*FAKE, "--exit-at-start", "4", "--stderr", "no key"],
        "well": [*FAKE],
    }
    tables = [f"[agents.{name}]\ncommand = {json.dumps(argv)}" for name, argv in agents.items()]
    home.config.write_text("\n".join(['default_agent = "well"', *tables]), encoding="utf-8")
    found = findings(home, "--timeout", "6", code=1)
    states = {name: found[f"agent {name}"][0] for name in agents}
    assert states == {"dumb": "broken", "gone": "broken", "dead": "broken", "well": "ok"}
    assert "within 6 s" in found["agent dumb"][1]
    assert "no key" in found["agent dead"][1]
    assert found["agent gone"][2] == "`trio-broker agents test gone` shows more"


def test_mistakes_of_the_configuration_are_told(home: Home) -> None:
    home.config.write_text('[broker]\nqueue = "many"\n', encoding="utf-8")
    state, text, mend = findings(home, code=1)["config"]
    assert state == "broken" and "broker.queue: expected a whole number" in text
    assert mend == f"edit {home.config}, then `trio-broker config check`"
    home.config.write_text('default_agent = "nobody"\n', encoding="utf-8")
    assert "there is no agent 'nobody'" in findings(home, code=1)["config"][1]


def test_warnings_of_the_configuration_are_notes(home: Home) -> None:
    home.config.write_text('[agents.a]\ncommand = "no-such-program"\n', encoding="utf-8")
    done = home.run("doctor", "--no-agents", "--format", "json")
    notes = [one for one in json.loads(done.stdout)["findings"] if one["what"] == "config"]
    assert [one["state"] for one in notes] == ["note", "ok"]
    assert "agents.a.command: no-such-program is not found" in notes[0]["text"]
    home.config.write_text('[listen]\nwebsocket = "0.0.0.0:0"\n', encoding="utf-8")
    state, text, _ = findings(home, "--no-agents", code=1)["config"]
    assert state == "broken" and "listen.websocket: 0.0.0.0 can be reached" in text


def test_what_others_may_do_is_told_with_the_chmod_against_it(home: Home) -> None:
    home.run("up")
    home.socket.chmod(0o666)
    home.socket.parent.chmod(0o755)
    home.config.chmod(0o666)
    found = findings(home, "--no-agents", code=1)
    assert found["socket"][2] == f"chmod 600 {home.socket}"
    assert found["runtime"][2] == f"chmod 700 {home.socket.parent}"
    assert found["config"][2] == f"chmod go-w {home.config}"


def test_a_home_that_cant_be_written_is_told(home: Home) -> None:
    (home.path / "state").write_text("no directory", encoding="utf-8")
    found = findings(home, "--no-agents", code=1)
    assert found["state"][1:] == (
        f"{home.path}/state can't be written",
        "set TRIO_BROKER_HOME to a directory of yours",
    )


def test_a_damaged_journal_is_told(home: Home) -> None:
    home.run("up")
    home.run("down")
    journal = home.path / "state" / "journal.sqlite"
    journal.write_bytes(b"no database" * 1000)
    state, text, mend = findings(home, "--no-agents", code=1)["journal"]
    assert state == "broken" and "not a database" in text and "keep a copy" in mend


def test_orphans_are_told_and_not_ended(home: Home) -> None:
    instance = process_tags.new_instance_tag(str(home.path / "run"))
    env = {**os.environ, process_tags.INSTANCE: instance, process_tags.SESSION: "left"}
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, env=env) as orphan:
        state, text, mend = findings(home, "--no-agents", code=1)["orphans"]
        assert (state, mend) == ("broken", "`trio-broker orphans --end`")
        assert text == f"1 left behind: {orphan.pid}"
        assert orphan.poll() is None
        orphan.kill()
        orphan.wait(LIMIT)


def test_a_broker_of_another_version_is_told(home: Home) -> None:
    """A daemon that was started before an upgrade: the same program, run under another number."""
    start = "import sys, trio_broker; trio_broker.__version__ = '0.0.1'; sys.argv[1:] = ['serve']\n"
    start += "from trio_broker.cli import main; main()"
    null = subprocess.DEVNULL
    with subprocess.Popen([sys.executable, "-c", start], env=home.env, stdout=null, stderr=null) as daemon:
        eventually(home.socket.exists)
        state, text, mend = findings(home, "--no-agents", code=1)["broker"]
        assert state == "broken" and text.startswith("0.0.1 (pid")
        assert text.endswith(f"but this command is {__version__}") and "`trio-broker down`" in mend
        home.run("down")
        daemon.wait(LIMIT)


@pytest.mark.parametrize(
    ("version", "state", "text"),
    [
        ((3, 10, 9), "broken", "3.10.9 (/bin/py), supported: 3.11 to 3.14"),
        ((3, 11, 0), "ok", "3.11.0 (/bin/py), supported: 3.11 to 3.14"),
        ((3, 14, 7), "ok", "3.14.7 (/bin/py), supported: 3.11 to 3.14"),
        ((3, 15, 0), "note", "3.15.0 (/bin/py) is not tested, supported: 3.11 to 3.14"),
    ],
)
def test_the_version_of_python_is_compared_with_the_supported_ones(
    version: tuple[int, ...], state: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "sys", SimpleNamespace(version_info=version, executable="/bin/py"))
    found, _ = doctor.check_python(State())
    assert (found.state, found.text) == (state, text)
    assert bool(found.mend) is (state != "ok")


@pytest.mark.parametrize(
    ("script", "state", "text"),
    [("echo v99.1.0", "ok", "v99.1.0 ({node})"), ("exit 3", "broken", "{node}: Command")],
)
def test_node_is_asked_for_its_version(
    script: str, state: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("node", "npx"):
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    [found] = doctor.check_node(State())
    assert found.state == state and found.text.startswith(text.format(node=tmp_path / "node"))
    assert found.mend == ("" if state == "ok" else "install Node.js anew")


def test_an_agent_that_fails_to_start_again_and_again_is_told(home: Home) -> None:
    home.config.write_text(
        f"[agents.dead]\ncommand = {json.dumps([*FAKE, '--exit-at-start', '4', '--stderr', 'no key'])}\n",
        encoding="utf-8",
    )
    for number in range(4):
        home.run("sessions", "ensure", "-a", "dead", "-s", str(number))
    state, text, mend = findings(home, "--no-agents", code=0)["agent dead"]
    assert (state, mend) == ("note", "`trio-broker agents test dead`")
    assert text.startswith("failed to start, ") and "no key" in text


def test_without_a_configuration_the_defaults_are_in_force(home: Home) -> None:
    home.config.unlink()
    assert findings(home, "--no-agents", code=0)["config"] == (
        "ok",
        f"none at {home.config}: the defaults are in force",
        "",
    )


def test_a_broker_that_holds_its_lock_and_does_not_listen_is_told(home: Home) -> None:
    home.run("up")
    pid = home.status()["pid"]
    home.socket.rename(home.socket.with_name("elsewhere"))
    state, text, mend = findings(home, "--no-agents", code=1)["broker"]
    assert (state, text) == ("broken", "a broker lives and does not listen") and str(home.path) in mend
    home.socket.with_name("elsewhere").rename(home.socket)
    assert home.status()["pid"] == pid


def test_it_is_about_this_machine(home: Home) -> None:
    done = home.run("--url", "ws://127.0.0.1:9", "doctor")
    assert done.returncode == 2 and "leave out --url" in done.stderr
