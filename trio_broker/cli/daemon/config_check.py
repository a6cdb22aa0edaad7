"""The checks of a configuration file for `config check` and `doctor`, beyond those that `config` does itself.

An error keeps the broker from starting, or makes a setting useless for every prompt. A warning can be solved later, or
be wrong for the daemon: a directory that is mounted later, a program that only the daemon's PATH has.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import attrs

from trio_broker.agent import catalog
from trio_broker.agent.installed import InstalledAgents
from trio_broker.config import config
from trio_broker.config.config import Config
from trio_broker.config.validation import Problem
from trio_broker.errors import ConfigError, UnknownAgent


@attrs.frozen
class CheckedConfig:
    """What a file says as far as it fits, and what is wrong with it."""

    config: Config
    errors: list[Problem]
    warnings: list[Problem]


def check_file(path: Path, installed: InstalledAgents, *, must_exist: bool) -> CheckedConfig:
    """Everything that is wrong with the file at `path`; a missing one is well. Raises ConfigError if it is no TOML."""
    valid, invalid = config.parse_leniently(config.read(path, must_exist=must_exist), str(path))
    invalid_agents = [where[1] for where, _ in invalid if where[0] == "agents" and len(where) > 1]
    errors, warnings = [*invalid], [*_agents(valid), *_notify(valid)]
    has_websocket = valid.listen.websocket is not None or any(
        where == ("listen", "websocket") for where, _ in invalid
    )
    (errors if has_websocket else warnings).extend(_listen(valid))
    if valid.default_agent is not None and valid.default_agent not in invalid_agents:
        errors += _default(valid, valid.default_agent, installed)
    return CheckedConfig(valid, errors, warnings)


LISTEN_KEYS = ("websocket", "tls_cert", "tls_key")


def _listen(valid: Config) -> Iterator[Problem]:
    from trio_broker.transport.listeners import tls_context  # late: it imports trio

    try:
        tls_context(valid.listen)
    except ConfigError as error:
        text = error.message.removeprefix("[listen] ")
        keys, _, reason = text.partition(": ")
        key = keys.partition(",")[0]
        yield ("listen", key if key in LISTEN_KEYS else "tls_cert"), reason if key in LISTEN_KEYS else text


def _default(valid: Config, name: str, installed: InstalledAgents) -> Iterator[Problem]:
    try:
        catalog.resolve(name, valid, installed=installed)
    except UnknownAgent as error:
        yield ("default_agent",), error.message


def _agents(valid: Config) -> Iterator[Problem]:
    for name in valid.agents:
        spec = catalog.resolve(name, valid)
        if spec.cwd is not None and not os.path.isdir(spec.cwd):
            yield (
                ("agents", name, "cwd"),
                f"there is no directory {spec.cwd}; make it, or its sessions can't start",
            )
        path = spec.env.get("PATH")
        if not shutil.which(spec.argv[0], path=path):
            yield (
                ("agents", name, "command"),
                f"{spec.argv[0]} is not found; install it, or write its whole path",
            )


def _notify(valid: Config) -> Iterator[Problem]:
    command = valid.policy.notify
    if command and not shutil.which(os.path.expanduser(command[0])):
        yield ("policy", "notify"), f"{command[0]} is not found; install it, or write its whole path"
