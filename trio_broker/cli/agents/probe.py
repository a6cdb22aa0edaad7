"""`agents test`: an agent is started, and what it offers is shown."""

from __future__ import annotations

import shlex
from typing import Any

import trio

from trio_broker.catalog import AgentSpec
from trio_broker.cli.output import Progress, progress, safe
from trio_broker.probe import Probe


async def looked_at(spec: AgentSpec, cwd: str, patience: float) -> Probe:
    """Start it, and show how that goes. `cwd` is absolute."""
    probe = Probe(spec, cwd, patience)
    async with progress(f"starting {spec.name}") as shown, trio.open_nursery() as nursery:
        nursery.start_soon(_follow, probe, shown)
        await probe.run()
        nursery.cancel_scope.cancel()
    return probe


async def _follow(probe: Probe, shown: Progress) -> None:
    while True:  # its stderr has no event: a look now and then is what a person needs
        shown.last = (probe.last_words or [""])[-1]
        await trio.sleep(0.2)


def picture(probe: Probe) -> dict[str, Any]:
    """What was found, as JSON values."""
    said, opened = probe.introduction or {}, probe.conversation or {}
    return {
        "name": probe.spec.name,
        "command": list(probe.spec.argv),
        "source": probe.spec.source,
        "ok": probe.error is None,
        "error": None if probe.error is None else probe.error.message,
        "loginNeeded": probe.needs_login,
        "agentInfo": said.get("agentInfo"),
        "protocolVersion": said.get("protocolVersion"),
        "capabilities": said.get("agentCapabilities"),
        "authMethods": said.get("authMethods") or [],
        "modes": opened.get("modes"),
        "configOptions": opened.get("configOptions"),
        "seconds": {"initialize": probe.introduced_after, "session": probe.conversed_after},
        "stderr": probe.last_words,
    }


def lines(found: dict[str, Any]) -> list[tuple[str, str]]:
    """The same for people: names and texts."""
    info, times = found["agentInfo"] or {}, found["seconds"]
    shown = [("command", shlex.join(found["command"]))]
    if times["initialize"] is None:
        return shown
    version = " ".join(str(info[name]) for name in ("name", "version") if info.get(name))
    shown += [
        ("agent", version or "does not say"),
        ("protocol", str(found["protocolVersion"])),
        ("initialize", f"{times['initialize']:.2f} s"),
        ("capabilities", ", ".join(_capabilities(found["capabilities"] or {})) or "none"),
        ("login", _logins(found["authMethods"])),
    ]
    if times["session"] is not None:
        failed = "needs a login" if found["loginNeeded"] else "failed"
        shown.append(("session", f"{times['session']:.2f} s" if found["ok"] else failed))
    if modes := found["modes"]:
        shown.append(("modes", ", ".join(_modes(modes))))
    for option in found["configOptions"] or ():
        if isinstance(option, dict):
            shown.append((f"option {option.get('id')}", str(option.get("currentValue"))))
    return [(safe(name), safe(text)) for name, text in shown]


def _capabilities(tree: Any, before: str = "") -> list[str]:
    """What is true, or there, in a tree of capabilities: loadSession, promptCapabilities.image."""
    found: list[str] = []
    for name, value in tree.items():
        if isinstance(value, dict) and value:
            found += _capabilities(value, f"{before}{name}.")
        elif value not in (False, None):
            found.append(f"{before}{name}")
    return found


def _logins(methods: Any) -> str:
    known = [method for method in methods if isinstance(method, dict)]
    return ", ".join(f"{method.get('id')} ({method.get('name')})" for method in known) or "no methods offered"


def _modes(modes: dict[str, Any]) -> list[str]:
    current = modes.get("currentModeId")
    known = [mode for mode in modes.get("availableModes") or () if isinstance(mode, dict)]
    return [("*" if mode.get("id") == current else "") + str(mode.get("id")) for mode in known]
