"""Where the broker's files are. Nothing is created here."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from trio_broker.errors import ConfigError

APP = "trio-broker"
MAX_SOCKET_PATH = 103 if sys.platform == "darwin" else 107  # the kernel's sun_path, without its final NUL


class Paths(NamedTuple):
    """Every path the broker uses. Nothing is created here; `runtime` is to be a directory of mode 0700."""

    config: Path
    socket: Path
    lock: Path
    start_lock: Path
    log: Path
    runtime: Path
    state: Path
    journal: Path
    journal_lock: Path
    tokens: Path
    agents: Path
    config_named: bool = False  # somebody asked for this very file: it must exist

    @classmethod
    def from_env(cls, environ: Mapping[str, str], config: str | Path | None = None) -> Paths:
        """The paths under `environ`; `config` (an option `--config`) beats TRIO_BROKER_CONFIG.

        Raises ConfigError if the socket's path is longer than the system allows.
        """
        named = config or environ.get("TRIO_BROKER_CONFIG")
        folder, runtime, state, data = _folders(environ)
        paths = cls(
            config=_absolute(named, environ) if named else folder / "config.toml",
            socket=runtime / "broker.sock",
            lock=runtime / "broker.lock",
            start_lock=state / "start.lock",
            log=state / "broker.log",
            runtime=runtime,
            state=state,
            journal=state / "journal.sqlite",
            journal_lock=state / "journal.lock",
            tokens=state / "tokens.json",
            agents=data / "agents",
            config_named=bool(named),
        )
        _check_length(paths.socket)
        return paths


def _folders(environ: Mapping[str, str]) -> tuple[Path, Path, Path, Path]:
    if moved := environ.get("TRIO_BROKER_HOME"):
        home = _absolute(moved, environ)
        return home, home / "run", home / "state", home / "data"
    runtime = environ.get("XDG_RUNTIME_DIR")
    return (
        _xdg(environ, "XDG_CONFIG_HOME", ".config"),
        Path(runtime, APP) if runtime else _default_runtime(),
        _xdg(environ, "XDG_STATE_HOME", ".local/state"),
        _xdg(environ, "XDG_DATA_HOME", ".local/share"),
    )


def _default_runtime() -> Path:
    import platformdirs  # late: most systems name the directory themselves

    with warnings.catch_warnings():  # platformdirs warns of the very fallback that is wanted from it here
        warnings.simplefilter("ignore")
        return platformdirs.user_runtime_path(APP)


def _xdg(environ: Mapping[str, str], variable: str, default: str) -> Path:
    return Path(environ.get(variable) or _home(environ) / default, APP)


def _home(environ: Mapping[str, str]) -> Path:
    return Path(environ["HOME"]) if environ.get("HOME") else Path.home()


def _absolute(text: str | Path, environ: Mapping[str, str]) -> Path:
    path = Path(text)
    if path.parts[:1] == ("~",):
        path = _home(environ).joinpath(*path.parts[1:])
    return path.absolute()


def _check_length(socket: Path) -> None:
    length = len(os.fsencode(socket))
    if length > MAX_SOCKET_PATH:
        raise ConfigError(
            f"the socket's path {socket} has {length} bytes, but the system allows {MAX_SOCKET_PATH}; "
            "set TRIO_BROKER_HOME (or XDG_RUNTIME_DIR) to a directory with a shorter path",
            path=str(socket),
            length=length,
            limit=MAX_SOCKET_PATH,
        )
