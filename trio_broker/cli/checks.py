"""What `doctor` looks at, but for the agents: each a function that blocks for a moment and gives findings."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import attrs

from trio_broker import __version__
from trio_broker.agent import process_tags
from trio_broker.cli.background import listens, lock_is_held
from trio_broker.cli.mistakes import find
from trio_broker.cli.orphans import living_instance
from trio_broker.cli.run import State
from trio_broker.config.config import config_error
from trio_broker.errors import BrokerError, ConfigError

OK, NOTE, BROKEN = "ok", "note", "broken"
OLDEST, NEWEST = (3, 11), (3, 14)  # the supported versions of Python, as pyproject.toml and README have them
PACKAGES = ("attrs", "cattrs", "click", "msgspec", "platformdirs", "psutil", "rich", "trio", "trio-util")
LITTLE, TOO_LITTLE = 2 << 30, 200 << 20  # bytes that are free
NODE_PATIENCE = 10.0


@attrs.frozen
class Finding:
    """`mend` says what to do about it; nothing for what is well."""

    what: str
    state: str
    text: str
    mend: str = ""


def python(_: State) -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    supported = "supported: {}.{} to {}.{}".format(*OLDEST, *NEWEST)
    text, level, mend = f"{version} ({sys.executable}), {supported}", OK, ""
    if sys.version_info[:2] < OLDEST:
        level, mend = BROKEN, "install Python 3.11 or newer, and trio-broker for that one"
    elif sys.version_info[:2] > NEWEST:
        text = f"{version} ({sys.executable}) is not tested, {supported}"
        level, mend = NOTE, "if something fails, install a supported Python, and trio-broker for that one"
    yield Finding("python", level, text, mend)
    missing, found = [], []
    for name in (*PACKAGES, "trio-websocket"):
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        yield Finding("packages", BROKEN, f"missing: {', '.join(missing)}", "install trio-broker anew")
    else:
        yield Finding("packages", OK, f"trio-broker {__version__}, {', '.join(found)}")


def config(state: State) -> Iterator[Finding]:
    path = state.paths.config
    mend = f"edit {path}, then `trio-broker config check`"
    try:
        seen = find(path, state.installed, must_exist=state.paths.config_named)
        if seen.mistakes:
            raise config_error(str(path), seen.mistakes)
    except ConfigError as error:
        for line in error.message.splitlines():
            yield Finding("config", BROKEN, line, mend)
        return
    for line in config_error(str(path), seen.warnings).message.splitlines():
        yield Finding("config", NOTE, line, mend)
    agents = len(seen.config.agents)
    if not path.exists():
        yield Finding("config", OK, f"none at {path}: the defaults are in force")
        return
    yield Finding("config", OK, f"{path}, {agents} agent{'' if agents == 1 else 's'}")
    if stat.S_IMODE(path.stat().st_mode) & 0o022:
        yield Finding("config", BROKEN, "others may write the configuration", f"chmod go-w {path}")


def home(state: State) -> Iterator[Finding]:
    """The directories: writable, private where they have to be, with room."""
    paths = state.paths
    for name, path in (("state", paths.state), ("runtime", paths.runtime), ("agents", paths.agents)):
        there = _nearest(path)
        if not os.access(there, os.W_OK | os.X_OK) or not there.is_dir():
            yield Finding(
                name, BROKEN, f"{there} can't be written", "set TRIO_BROKER_HOME to a directory of yours"
            )
        elif name == "runtime" and path.exists() and _mode(path) != 0o700:
            yield Finding(name, BROKEN, f"{path} has mode {_mode(path):04o}, not 0700", f"chmod 700 {path}")
        else:
            yield Finding(name, OK, f"{path}{'' if path.exists() else ' (is made when it is needed)'}")
    free = shutil.disk_usage(_nearest(paths.state)).free
    level = BROKEN if free < TOO_LITTLE else NOTE if free < LITTLE else OK
    mend = "" if level == OK else "make room, or `trio-broker sessions prune --older-than 30d`"
    yield Finding("disk", level, f"{free / (1 << 30):.1f} GiB free for the journal", mend)


def broker(state: State) -> Iterator[Finding]:
    paths = state.paths
    if not listens(paths):
        if lock_is_held(paths):
            mend = f"wait a moment, then look at {paths.log}; `trio-broker down` ends it"
            yield Finding("broker", BROKEN, "a broker lives and does not listen", mend)
        else:
            yield Finding("broker", OK, "none runs; the next prompt starts one")
        return
    if (mode := _mode(paths.socket)) != 0o600:
        yield Finding("socket", BROKEN, f"{paths.socket} has mode {mode:04o}", f"chmod 600 {paths.socket}")
    try:
        status = state.ask("_trio_broker/status", patience=5.0)
    except BrokerError as error:
        yield Finding("broker", BROKEN, error.message, f"look at {paths.log}, then `trio-broker down`")
        return
    text = f"{status['version']} (pid {status['pid']}) at {paths.socket}"
    yield from _broker(status, text)


def _broker(status: dict[str, Any], text: str) -> Iterator[Finding]:
    if status["version"] == __version__:
        yield Finding("broker", OK, text)
    else:
        mend = "`trio-broker down`, when its turns have ended; the next prompt starts the new one"
        yield Finding("broker", BROKEN, f"{text}, but this command is {__version__}", mend)
    if failing := status["journal"]["failing"]:
        yield Finding("journal", BROKEN, f"the broker can't write it: {failing}", "make room on its disk")
    for name, agent in status["failing"].items():
        text = f"failed to start, {agent['failures']} in a row: {agent['reason']}"
        yield Finding(f"agent {name}", NOTE, text, f"`trio-broker agents test {name}`")


def orphans(state: State) -> Iterator[Finding]:
    living = living_instance(state)
    mark = process_tags.runtime_tag(str(state.paths.runtime))
    found = process_tags.find(
        lambda kin: process_tags.runtime_of(kin.instance) == mark and kin.instance != living
    )
    if found:
        pids = ", ".join(str(kin.pid) for kin in found)
        yield Finding("orphans", BROKEN, f"{len(found)} left behind: {pids}", "`trio-broker orphans --end`")
    else:
        yield Finding("orphans", OK, "none")


def journal(state: State) -> Iterator[Finding]:
    """Read only, so that a running broker is not disturbed."""
    path = state.paths.journal
    if not path.exists():
        yield Finding("journal", OK, f"none yet at {path}")
        return
    mend = f"the broker puts it aside at its next start; keep a copy of {path} until then"
    try:
        connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=5.0)
        try:
            said = [row[0] for row in connection.execute("PRAGMA quick_check(5)")]
        finally:
            connection.close()
    except sqlite3.Error as error:
        yield Finding("journal", BROKEN, f"{path}: {error}", mend)
        return
    if said == ["ok"]:
        yield Finding("journal", OK, f"{path}, {path.stat().st_size / (1 << 20):.1f} MiB, whole")
    else:
        yield Finding("journal", BROKEN, f"{path}: {'; '.join(said)}", mend)


def node(_: State) -> Iterator[Finding]:
    program = shutil.which("node")
    if program is None or shutil.which("npx") is None:
        yield Finding("node", NOTE, "node and npx are not in PATH", "install Node.js for agents that need it")
        return
    try:
        done = subprocess.run(
            [program, "--version"], capture_output=True, timeout=NODE_PATIENCE, check=True, text=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        yield Finding("node", BROKEN, f"{program}: {error}", "install Node.js anew")
    else:
        yield Finding("node", OK, f"{done.stdout.strip()} ({program})")


CHECKS = (python, config, home, broker, journal, orphans, node)


def _nearest(path: Path) -> Path:
    """The directory itself, or the one that it would be made in."""
    return next(one for one in (path, *path.parents) if one.exists())


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)
