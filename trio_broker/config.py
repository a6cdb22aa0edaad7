"""Where the broker's files are, and what its configuration file says.

The file is TOML, and every mistake in it is told, all at once: the file, the dotted key and what was expected there.
"""

from __future__ import annotations

import difflib
import enum
import os
import shlex
import sys
import tomllib
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import cattrs
import platformdirs
from cattrs.errors import (
    AttributeValidationNote,
    ClassValidationError,
    ForbiddenExtraKeysError,
    IterableValidationError,
    IterableValidationNote,
)
from cattrs.gen import make_dict_structure_fn, override

from trio_broker.errors import ConfigError
from trio_broker.policy import Policy

APP = "trio-broker"
MAX_SOCKET_PATH = 103 if sys.platform == "darwin" else 107  # the kernel's sun_path, without its final NUL


@attrs.frozen
class Paths:
    """Every path the broker uses. Nothing is created here; `runtime` is to be a directory of mode 0700."""

    config: Path
    socket: Path
    lock: Path
    log: Path
    runtime: Path
    state: Path
    journal: Path
    config_named: bool = False  # somebody asked for this very file: it must exist

    @classmethod
    def from_env(cls, environ: Mapping[str, str], config: str | Path | None = None) -> Paths:
        """The paths under `environ`; `config` (an option `--config`) beats TRIO_BROKER_CONFIG.

        Raises ConfigError if the socket's path is longer than the system allows.
        """
        named = config or environ.get("TRIO_BROKER_CONFIG")
        folder, runtime, state = _folders(environ)
        paths = cls(
            config=_absolute(named, environ) if named else folder / "config.toml",
            socket=runtime / "broker.sock",
            lock=runtime / "broker.lock",
            log=state / "broker.log",
            runtime=runtime,
            state=state,
            journal=state / "journal.sqlite",
            config_named=bool(named),
        )
        _check_length(paths.socket)
        return paths


def _folders(environ: Mapping[str, str]) -> tuple[Path, Path, Path]:
    if moved := environ.get("TRIO_BROKER_HOME"):
        home = _absolute(moved, environ)
        return home, home / "run", home / "state"
    runtime = environ.get("XDG_RUNTIME_DIR")
    return (
        _xdg(environ, "XDG_CONFIG_HOME", ".config"),
        Path(runtime, APP) if runtime else _default_runtime(),
        _xdg(environ, "XDG_STATE_HOME", ".local/state"),
    )


def _default_runtime() -> Path:
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


def _at_least(default: Any, least: float, *, above: bool = False) -> Any:
    return attrs.field(default=default, metadata={"least": least, "above": above})


class Restart(enum.Enum):
    """When an agent that crashed is started again: for the next prompt, at once, or not at all."""

    LAZY = "lazy"
    EAGER = "eager"
    NEVER = "never"


class Durability(enum.Enum):
    """When an event is on disk: some time, before a turn's end is told, or the same through a power cut."""

    OFF = "off"
    TURN = "turn"
    FULL = "full"


@attrs.frozen
class BrokerConfig:
    """The table `[broker]`: limits, and times in seconds."""

    max_sessions: int = _at_least(1000, 1)
    max_starting: int = _at_least(8, 1)
    queue: int = _at_least(16, 0)
    idle_ttl: float = _at_least(0.0, 0)  # 0: idle sessions are never ended
    liveness: float = _at_least(5.0, 0, above=True)
    cancel_grace: float = _at_least(30.0, 0)
    close_grace: float = _at_least(5.0, 0)
    term_grace: float = _at_least(5.0, 0)
    start_timeout: float = _at_least(120.0, 0, above=True)
    max_line: int = _at_least(64 * 1024 * 1024, 1024)
    stderr_ring: int = _at_least(65536, 0)
    max_clients: int = _at_least(256, 1)
    policy: Policy = Policy.ASK
    restart: Restart = Restart.LAZY


@attrs.frozen
class JournalConfig:
    """The table `[journal]`: what is kept of sessions, how safely and how long."""

    durability: Durability = Durability.TURN
    keep_days: float = _at_least(90.0, 0)  # of closed sessions; 0: for ever
    keep_bytes: int = _at_least(
        256 * 1024 * 1024, 0
    )  # of one session's log, the oldest go first; 0: everything


@attrs.frozen
class AgentConfig:
    """One table `[agents.NAME]`; a command written as one string is split as a shell would split it."""

    command: tuple[str, ...]
    args: tuple[str, ...] = ()
    env: dict[str, str] = attrs.field(factory=dict)
    inherit_env: tuple[str, ...] = ()
    cwd: str | None = None
    start_timeout: float | None = _at_least(None, 0, above=True)


@attrs.frozen
class Config:
    default_agent: str = "demo"
    broker: BrokerConfig = BrokerConfig()
    journal: JournalConfig = JournalConfig()
    agents: dict[str, AgentConfig] = attrs.field(factory=dict)


def load(path: Path, *, must_exist: bool = False) -> Config:
    """What the file at `path` says; a missing file means the defaults, unless it `must_exist`.

    Raises ConfigError for a file that can't be read or is no TOML, and for keys and values that do not fit.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        if must_exist:
            raise ConfigError(f"{path}: there is no such file", file=str(path)) from None
        return Config()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: can't be read: {error}", file=str(path)) from error
    return loads(text, str(path))


def loads(text: str, file: str) -> Config:
    """As `load`, of a text; `file` is what errors call it."""
    try:
        raw = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{file}: is no TOML: {error}", file=file) from error
    try:
        config = _converter.structure(raw, Config)
    except ClassValidationError as error:
        raise _config_error(file, list(_problems(error, ()))) from error
    if problems := [
        *_ranges(config.broker, ("broker",)),
        *_ranges(config.journal, ("journal",)),
        *_agent_ranges(config),
    ]:
        raise _config_error(file, problems)
    return config


Problem = tuple[str, str]  # the dotted key, and what is wrong with it


def _config_error(file: str, problems: list[Problem]) -> ConfigError:
    lines = [f"{file}: {key}: {what}" if key else f"{file}: {what}" for key, what in problems]
    return ConfigError("\n".join(lines), file=file, keys=[key for key, _ in problems])


class _Unfit(Exception):
    """A value that does not fit; the text says what was expected and what is there."""


def _problems(error: BaseException, where: tuple[str, ...]) -> Iterator[Problem]:
    match error:
        case ForbiddenExtraKeysError():
            known = [field.name for field in attrs.fields(error.cl)]
            for key in sorted(error.extra_fields):
                yield _dotted(*where, key), f"unknown key; {_near(key, known)}"
        case ClassValidationError() | IterableValidationError():
            for inner in error.exceptions:
                yield from _problems(inner, where + _step(inner))
        case KeyError():
            yield _dotted(*where), 'is missing; expected a command, as in command = "my-agent --acp"'
        case _:
            yield _dotted(*where), str(error)


def _step(error: BaseException) -> tuple[str, ...]:
    for note in getattr(error, "__notes__", ()):
        if isinstance(note, AttributeValidationNote):
            return (note.name,)
        if isinstance(note, IterableValidationNote):
            return (str(note.index),)
    return ()


def _near(key: str, known: list[str]) -> str:
    found = difflib.get_close_matches(key, known, n=1)
    return f"did you mean {found[0]}?" if found else f"expected one of {', '.join(known)}"


def _dotted(*parts: str) -> str:
    bare = [part if part.replace("-", "").replace("_", "").isalnum() else f'"{part}"' for part in parts]
    return ".".join(bare)


def _ranges(table: Any, where: tuple[str, ...]) -> Iterator[Problem]:
    for field in attrs.fields(type(table)):
        value, least = getattr(table, field.name), field.metadata.get("least")
        if value is None or least is None:
            continue
        above = field.metadata["above"]
        if not (value > least if above else value >= least) or value in (float("inf"),):
            words = "above" if above else "of at least"
            yield _dotted(*where, field.name), f"expected a finite number {words} {least}, not {value}"


def _agent_ranges(config: Config) -> Iterator[Problem]:
    for name, agent in config.agents.items():
        yield from _ranges(agent, ("agents", name))


_NAMES = {
    dict: "a table",
    list: "an array",
    str: "a string",
    int: "a whole number",
    float: "a number",
    bool: "a boolean",
}


def _unfit(expected: str, value: object) -> _Unfit:
    shown = "" if isinstance(value, dict | list) else f" {value!r}"
    return _Unfit(f"expected {expected}, not {_NAMES.get(type(value), 'a date or time')}{shown}")


def _string(value: object, _: object) -> str:
    if isinstance(value, str) and "\0" not in value:
        return value
    raise _unfit("a string", value)


def _integer(value: object, _: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise _unfit("a whole number", value)


def _number(value: object, _: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    raise _unfit("a number", value)


def _choice(value: object, kind: type[enum.Enum]) -> enum.Enum:
    choices = [choice.value for choice in kind]
    if value in choices:
        return kind(value)
    raise _unfit(f"one of {', '.join(choices)}", value)


def _strings(value: object, _: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise _unfit("an array of strings", value)
    return tuple(_string(item, str) for item in value)


def _string_table(value: object, _: object) -> dict[str, str]:
    if not isinstance(value, dict):
        raise _unfit("a table", value)
    for key, item in value.items():
        if not isinstance(item, str) or not key or "=" in key or "\0" in key + item:
            raise _Unfit(f"{key!r}: " + str(_unfit("a string", item)))
    return dict(value)


def _command(value: object, _: object) -> tuple[str, ...]:
    if not isinstance(value, str | list):
        raise _unfit("a command: a string, or an array of strings", value)
    try:
        words = tuple(shlex.split(value)) if isinstance(value, str) else _strings(value, str)
    except ValueError as error:
        raise _Unfit(f"expected a command, but {value!r} has {str(error).lower()}") from error
    if not words or not words[0]:
        raise _Unfit(f"expected a command, not the empty {value!r}")
    return words


def _register(converter: cattrs.Converter, cls: type, structured: Callable[[Any, Any], Any]) -> None:
    """Register `cls` so that something else than a table is told as such, and not as missing keys."""

    def hook(value: Any, kind: Any) -> Any:
        if not isinstance(value, dict):
            raise _unfit("a table", value)
        return structured(value, kind)

    converter.register_structure_hook(cls, hook)


def _agents(converter: cattrs.Converter, value: object) -> dict[str, AgentConfig]:
    if not isinstance(value, dict):
        raise _unfit("a table", value)
    errors: list[Exception] = []
    agents = {}
    for name, table in value.items():
        try:
            agents[name] = converter.structure(table, AgentConfig)
        except (ClassValidationError, _Unfit) as error:
            error.add_note(IterableValidationNote(f"in agent {name!r}", name, AgentConfig))
            errors.append(error)
    if errors:
        raise IterableValidationError("agents", errors, AgentConfig)
    return agents


def _make_converter() -> cattrs.Converter:
    converter = cattrs.Converter(forbid_extra_keys=True)
    converter.register_structure_hook(str, _string)
    converter.register_structure_hook(int, _integer)
    converter.register_structure_hook(float, _number)
    for choice in (Policy, Restart, Durability):
        converter.register_structure_hook(choice, _choice)
    converter.register_structure_hook_func(lambda kind: kind == tuple[str, ...], _strings)
    converter.register_structure_hook_func(lambda kind: kind == dict[str, str], _string_table)
    converter.register_structure_hook_func(
        lambda kind: kind == dict[str, AgentConfig], lambda value, _: _agents(converter, value)
    )
    command = override(struct_hook=_command)
    _register(converter, AgentConfig, make_dict_structure_fn(AgentConfig, converter, command=command))
    _register(converter, BrokerConfig, make_dict_structure_fn(BrokerConfig, converter))
    _register(converter, JournalConfig, make_dict_structure_fn(JournalConfig, converter))
    _register(converter, Config, make_dict_structure_fn(Config, converter))
    return converter


_converter = _make_converter()
