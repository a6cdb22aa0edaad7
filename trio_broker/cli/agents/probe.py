"""`agents test`: an agent is started, and what it offers is shown."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from typing import Any

import trio

from trio_broker.agent.catalog import AgentSpec
from trio_broker.agent.probe import Probe
from trio_broker.cli.output import Progress, progress, safe
from trio_broker.protocol.auth_methods import terminal_methods


async def run_probe(
    spec: AgentSpec,
    cwd: str,
    patience: float,
    open_session: bool = True,
    environment: Mapping[str, str] = os.environ,
) -> Probe:
    """Start it, and show how that goes. `cwd` is absolute; it inherits from `environment`."""
    probe = Probe(spec, cwd, patience, open_session, environment)
    async with progress(f"starting {spec.name}") as progress_line, trio.open_nursery() as nursery:
        nursery.start_soon(_show_stderr, probe, progress_line)
        await probe.run()
        nursery.cancel_scope.cancel()
    return probe


async def _show_stderr(probe: Probe, progress_line: Progress) -> None:
    while True:  # its stderr has no event: a look now and then is what a person needs
        progress_line.last = (probe.stderr_lines or [""])[-1]
        await trio.sleep(0.2)


def probe_report(probe: Probe) -> dict[str, Any]:
    """What was found, as JSON values."""
    initialized, opened = probe.initialize_result or {}, probe.session_result or {}
    return {
        "name": probe.spec.name,
        "command": list(probe.spec.argv),
        "source": probe.spec.source,
        "ok": probe.error is None,
        "error": None if probe.error is None else probe.error.message,
        "loginNeeded": probe.needs_login,
        "agentInfo": initialized.get("agentInfo"),
        "protocolVersion": initialized.get("protocolVersion"),
        "capabilities": initialized.get("agentCapabilities"),
        "authMethods": initialized.get("authMethods") or [],
        "loginCommand": probe.spec.login_command
        if terminal_methods(initialized.get("authMethods"))
        else None,
        "modes": opened.get("modes"),
        "configOptions": opened.get("configOptions"),
        "seconds": {"initialize": probe.initialized_after, "session": probe.session_after},
        "stderr": probe.stderr_lines,
    }


def report_lines(report: dict[str, Any]) -> list[tuple[str, str]]:
    """The same for people: names and texts."""
    info, times = report["agentInfo"] or {}, report["seconds"]
    rows = [("command", shlex.join(report["command"]))]
    if times["initialize"] is None:
        return rows
    version = " ".join(str(info[name]) for name in ("name", "version") if info.get(name))
    rows += [
        ("agent", version or "does not say"),
        ("protocol", str(report["protocolVersion"])),
        ("initialize", f"{times['initialize']:.2f} s"),
        ("capabilities", ", ".join(_capabilities(report["capabilities"] or {})) or "none"),
        ("login", _auth_methods_text(report["authMethods"])),
    ]
    for method in terminal_methods(report["authMethods"]):
        words = [*(f"{name}={value}" for name, value in method.env.items()), *report["command"], *method.args]
        rows.append((f"login {method.id}", f"{shlex.join(words)}, by `{report['loginCommand']}`"))
    if times["session"] is not None:
        failed = "needs a login" if report["loginNeeded"] else "failed"
        rows.append(("session", f"{times['session']:.2f} s" if report["ok"] else failed))
    if modes := report["modes"]:
        rows.append(("modes", ", ".join(_mode_names(modes))))
    for option in report["configOptions"] or ():
        if isinstance(option, dict):
            rows.append((f"option {option.get('id')}", str(option.get("currentValue"))))
    return [(safe(name), safe(text)) for name, text in rows]


def _capabilities(tree: Any, before: str = "") -> list[str]:
    """What is true, or there, in a tree of capabilities: loadSession, promptCapabilities.image."""
    names: list[str] = []
    for name, value in tree.items():
        if isinstance(value, dict) and value:
            names += _capabilities(value, f"{before}{name}.")
        elif value not in (False, None):
            names.append(f"{before}{name}")
    return names


def _auth_methods_text(methods: Any) -> str:
    known = [method for method in methods if isinstance(method, dict)]
    return ", ".join(f"{method.get('id')} ({method.get('name')})" for method in known) or "no methods offered"


def _mode_names(modes: dict[str, Any]) -> list[str]:
    current = modes.get("currentModeId")
    known = [mode for mode in modes.get("availableModes") or () if isinstance(mode, dict)]
    return [("*" if mode.get("id") == current else "") + str(mode.get("id")) for mode in known]
