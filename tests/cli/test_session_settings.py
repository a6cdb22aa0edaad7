"""The options that an agent offers, also hostile ones, or none."""

from __future__ import annotations

from pathlib import Path

from trio_broker.testing.processes.home import Home


def test_an_agent_without_models_says_so(shared: Home) -> None:
    done = shared.run("exec", "hi", "-a", "demo", "--model", "large")
    assert done.returncode == 2
    assert "offers no model 'large': it lets nobody choose one; leave out --model" in done.stderr


def test_hostile_options_are_shown_and_not_obeyed(shared: Home, tmp_path: Path) -> None:
    agent = tmp_path / "agent.py"
    agent.write_text(AGENT, encoding="utf-8")
    shared.run("sessions", "new", "-s", "evil", "--command", f"python3 {agent}")
    for words in (["set"], ["set-mode"], ["set", "nope", "x"], ["set-mode", "nope"]):
        with shared.terminal(*words, "-s", "evil") as person:
            person.end()
            assert "owned" in person.screen and "\x1b" not in person.screen and "\x9b" not in person.screen
    assert shared.run("set", "-s", "evil", "fast", "true").stderr == "session evil: fast is true\n"
    assert shared.run("set", "-s", "evil", "fast", "maybe").returncode == 2


AGENT = r"""
import json, sys
EVIL = "\x1b[2Jowned\x9b"
fast = {"id": "fast", "name": "Fast", "type": "boolean", "currentValue": False}
grouped = [{"group": "g", "name": "G", "options": [{"value": EVIL, "name": EVIL}]}]
options = [fast, {"id": EVIL, "name": EVIL, "type": "select", "currentValue": EVIL, "options": grouped},
           {"id": "new kind", "name": "?", "type": "slider", "currentValue": 3}]
modes = {"currentModeId": EVIL, "availableModes": [{"id": EVIL, "name": EVIL}]}
for line in sys.stdin:
    message = json.loads(line)
    if message["method"] == "session/set_config_option":
        assert message["params"]["value"] is True
        fast["currentValue"] = True
    results = {
        "initialize": {"protocolVersion": 1, "agentCapabilities": {}},
        "session/new": {"sessionId": "evil-id", "modes": modes, "configOptions": options},
        "session/set_config_option": {"configOptions": options},
    }
    if "id" in message:
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": results[message["method"]]}), flush=True)
"""
