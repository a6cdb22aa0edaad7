"""What `config check` and `doctor` find beside values that do not fit: those that can't work on this machine.

A mistake is what the broker does not start with, or what no prompt can ever use. A warning is about what may be
otherwise by then, or for the daemon: a directory that is mounted later, a program that only its PATH has.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import attrs

from trio_broker import catalog, config
from trio_broker.config import Config
from trio_broker.errors import ConfigError, UnknownAgent
from trio_broker.installed import Installed
from trio_broker.strict import Problem


@attrs.frozen
class Found:
    """What a file says as far as it fits, and what is wrong with it."""

    config: Config
    mistakes: list[Problem]
    warnings: list[Problem]


def find(path: Path, installed: Installed, *, must_exist: bool) -> Found:
    """Everything that is wrong with the file at `path`; a missing one is well. Raises ConfigError if it is no TOML."""
    fits, unfit = config.salvage(config.read(path, must_exist=must_exist), str(path))
    broken = [where[1] for where, _ in unfit if where[0] == "agents" and len(where) > 1]
    mistakes, warnings = [*unfit], [*_agents(fits), *_notify(fits)]
    listens = fits.listen.websocket is not None or any(where == ("listen", "websocket") for where, _ in unfit)
    (mistakes if listens else warnings).extend(_listen(fits))
    if fits.default_agent not in broken:
        mistakes += _default(fits, installed)
    return Found(fits, mistakes, warnings)


LISTEN_KEYS = ("websocket", "tls_cert", "tls_key")


def _listen(fits: Config) -> Iterator[Problem]:
    from trio_broker.tcp import protection  # late: it imports trio

    try:
        protection(fits.listen)
    except ConfigError as error:
        what = error.message.removeprefix("[listen] ")
        keys, _, why = what.partition(": ")
        key = keys.partition(",")[0]
        yield ("listen", key if key in LISTEN_KEYS else "tls_cert"), why if key in LISTEN_KEYS else what


def _default(fits: Config, installed: Installed) -> Iterator[Problem]:
    try:
        catalog.resolve(fits.default_agent, fits, installed=installed)
    except UnknownAgent as error:
        yield ("default_agent",), error.message


def _agents(fits: Config) -> Iterator[Problem]:
    for name in fits.agents:
        spec = catalog.resolve(name, fits)
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


def _notify(fits: Config) -> Iterator[Problem]:
    command = fits.policy.notify
    if command and not shutil.which(os.path.expanduser(command[0])):
        yield ("policy", "notify"), f"{command[0]} is not found; install it, or write its whole path"
