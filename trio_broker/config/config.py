"""What the broker's configuration file says.

The file is TOML, and every mistake in it is told, all at once: the file, the dotted key and what was expected there.
"""

from __future__ import annotations

import enum
import tomllib
from pathlib import Path

import attrs
import cattrs
from cattrs.errors import ClassValidationError, IterableValidationError, IterableValidationNote
from cattrs.gen import make_dict_structure_fn, override

from trio_broker.auth.call import KINDS
from trio_broker.auth.policy import Action, Policy, Rule, Unattended, compile_pattern
from trio_broker.config import validation
from trio_broker.config.validation import (
    InvalidValue,
    Problem,
    at_least,
    invalid_value,
    range_overrides,
    register,
)
from trio_broker.errors import ConfigError

MOVED_KEYS = {"broker.policy": 'has moved: write default = "…" in [policy]'}


class Restart(enum.Enum):
    """When an agent that crashed is started again: for the next prompt, at once, or not at all."""

    LAZY = "lazy"
    EAGER = "eager"
    NEVER = "never"


class Quiet(enum.Enum):
    """What is done about an agent that said nothing for `quiet_after` seconds of a turn."""

    SAY = "say"
    CANCEL = "cancel"


class Durability(enum.Enum):
    """When an event is on disk: some time, before a turn's end is told, or the same through a power cut."""

    OFF = "off"
    TURN = "turn"
    FULL = "full"


class ServedBy(enum.Enum):
    """Who serves a group of requests that an agent makes of its client (`fs/…`, `terminal/…`), as the file has it."""

    NOBODY = False
    BROKER = True
    CLIENT = "client"


@attrs.frozen
class BrokerConfig:
    """The table `[broker]`: limits, and times in seconds."""

    max_sessions: int = at_least(1000, 1)
    max_starting: int = at_least(8, 1)
    queue: int = at_least(16, 0)
    idle_ttl: float = at_least(0.0, 0)  # 0: idle sessions are never ended
    liveness: float = at_least(5.0, 0, above=True)
    cancel_grace: float = at_least(30.0, 0)
    close_grace: float = at_least(5.0, 0)
    term_grace: float = at_least(5.0, 0)
    start_timeout: float = at_least(120.0, 0, above=True)
    max_line: int = at_least(64 * 1024 * 1024, 1024)
    stderr_ring: int = at_least(65536, 0)
    max_clients: int = at_least(256, 1)
    restart: Restart = Restart.LAZY
    quiet_after: float = at_least(0.0, 0)  # 0: silence is nobody's business
    on_quiet: Quiet = Quiet.SAY
    max_turn: float = at_least(0.0, 0)  # 0: a turn may take as long as it takes
    max_terminals: int = at_least(32, 1)  # that the broker runs for one session
    terminal_output: int = at_least(1024 * 1024, 1024)  # bytes that are kept of the output of each of them


@attrs.frozen
class PolicyConfig:
    """The table `[policy]`: who answers what agents ask. Rules come first, then `default`, or what a client chose."""

    default: Policy = Policy.ASK
    unattended: Unattended = Unattended.HOLD
    expire: float = at_least(0.0, 0)  # seconds until an ask that nobody answered is refused; 0: never
    notify: tuple[str, ...] = ()  # a command that is run when an ask finds nobody there
    rules: tuple[Rule, ...] = ()


@attrs.frozen
class ListenConfig:
    """The table `[listen]`: the doors beside the Unix socket, and what they let in."""

    websocket: str | None = None  # HOST:PORT; None: no WebSocket
    insecure_bind: bool = False
    tls_cert: str | None = None
    tls_key: str | None = None
    origins: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    compression: bool = False
    max_per_token: int = at_least(64, 1)
    max_handshakes: int = at_least(64, 1)
    max_in_flight: int = at_least(1000, 1)
    initialize_timeout: float = at_least(30.0, 0, above=True)


@attrs.frozen
class JournalConfig:
    """The table `[journal]`: what is kept of sessions, how safely and how long."""

    durability: Durability = Durability.TURN
    keep_days: float = at_least(90.0, 0)  # of closed sessions; 0: for ever
    keep_bytes: int = at_least(
        256 * 1024 * 1024, 0
    )  # of one session's log, the oldest go first; 0: everything


@attrs.frozen
class AgentConfig:
    """One table `[agents.NAME]`; a command written as one string is split as a shell would split it.

    `may_answer`: what runs inside this agent may do all that the broker's owner may, answer the agent's own questions
    included.
    """

    command: tuple[str, ...]
    args: tuple[str, ...] = ()
    env: dict[str, str] = attrs.field(factory=dict)
    inherit_env: tuple[str, ...] = ()
    cwd: str | None = None
    start_timeout: float | None = at_least(None, 0, above=True)
    may_answer: bool = False
    terminal: ServedBy | None = None  # None: as the built-in table has it for this agent
    fs: ServedBy = ServedBy.NOBODY  # the broker itself does not serve files


@attrs.frozen
class Config:
    default_agent: str | None = None  # None: who names no agent chooses one, or is refused
    broker: BrokerConfig = BrokerConfig()
    listen: ListenConfig = ListenConfig()
    policy: PolicyConfig = PolicyConfig()
    journal: JournalConfig = JournalConfig()
    agents: dict[str, AgentConfig] = attrs.field(factory=dict)


def load(path: Path, *, must_exist: bool = False) -> Config:
    """What the file at `path` says; a missing file means the defaults, unless it `must_exist`.

    Raises ConfigError for a file that can't be read or is no TOML, and for keys and values that do not fit.
    """
    return loads(read(path, must_exist=must_exist), str(path))


def read(path: Path, *, must_exist: bool = False) -> str:
    """The text of the file at `path`; of a missing one none, unless it `must_exist`. Raises ConfigError."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        if must_exist:
            raise ConfigError(f"{path}: there is no such file", file=str(path)) from None
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: can't be read: {error}", file=str(path)) from error


def loads(text: str, file: str) -> Config:
    """As `load`, of a text; `file` is what errors call it."""
    config, found = parse_leniently(text, file)
    if found:
        raise config_error(file, found)
    return config


def parse_leniently(text: str, file: str) -> tuple[Config, list[Problem]]:
    """What of the text fits, and all that does not. Raises ConfigError for what is no TOML."""
    try:
        raw = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{file}: is no TOML: {error}", file=file) from error
    reported: list[Problem] = []
    while True:
        try:
            return _converter.structure(raw, Config), reported
        except ClassValidationError as error:
            found = list(validation.problems(error, ()))
            reported = reported or found  # later ones come of what was taken out
            if not validation.drop_keys(raw, [where for where, _ in found]):
                raise config_error(file, reported) from error


def config_error(file: str, problems: list[Problem]) -> ConfigError:
    """The error that tells all of these."""
    named = [(validation.dotted(*where), what) for where, what in problems]
    named = [(key, MOVED_KEYS.get(key, what)) for key, what in named]
    lines = [f"{file}: {key}: {what}" if key else f"{file}: {what}" for key, what in named]
    return ConfigError("\n".join(lines), file=file, keys=[key for key, _ in named])


def _agents(converter: cattrs.Converter, value: object) -> dict[str, AgentConfig]:
    if not isinstance(value, dict):
        raise invalid_value("a table", value)
    errors: list[Exception] = []
    agents = {}
    for name, table in value.items():
        try:
            agents[name] = converter.structure(table, AgentConfig)
        except (ClassValidationError, InvalidValue) as error:
            error.add_note(IterableValidationNote(f"in agent {name!r}", name, AgentConfig))
            errors.append(error)
    if errors:
        raise IterableValidationError("agents", errors, AgentConfig)
    return agents


def _rules(converter: cattrs.Converter, value: object) -> tuple[Rule, ...]:
    if not isinstance(value, list):
        raise invalid_value("an array of tables: [[policy.rules]]", value)
    errors: list[Exception] = []
    rules = []
    for number, table in enumerate(value, 1):  # as `policy rule N` in logs
        try:
            rules.append(converter.structure(table, Rule))
        except (ClassValidationError, InvalidValue) as error:
            error.add_note(IterableValidationNote(f"in rule {number}", str(number), Rule))
            errors.append(error)
    if errors:
        raise IterableValidationError("rules", errors, Rule)
    return tuple(rules)


def _kinds(value: object, _: object) -> tuple[str, ...]:
    """Kinds of tools, one or many; of ACP's, or an extension's."""
    kinds = validation.strings([value] if isinstance(value, str) else value, str)
    for kind in kinds:
        if kind not in KINDS and not kind.startswith("_"):
            raise invalid_value(f"a kind of tool ({', '.join(KINDS)}) or an array of them", kind)
    return kinds


def _pattern(value: object, _: object) -> str:
    text = validation.string(value, str)
    try:
        compile_pattern(text)
    except ValueError as error:
        what = (
            "a regular expression of RE2, which searches in linear time (no look-around, no back-references)"
        )
        raise InvalidValue(f"expected {what}, but {text!r} is refused: {error}") from error
    return text


def _terminal(value: object, _: object) -> ServedBy:
    """Who serves terminals: true (the broker), false (nobody) or "client"."""
    if isinstance(value, bool) or value == "client":
        return ServedBy(value)
    raise invalid_value('true (the broker runs commands), false or "client"', value)


def _fs(value: object, _: object) -> ServedBy:
    """Who serves files: "client", or false (nobody)."""
    if value is False or value == "client":
        return ServedBy(value)
    raise invalid_value('"client" or false: the broker serves no files itself', value)


def host_and_port(text: str) -> tuple[str, int]:
    """Of `HOST:PORT` or `[IPV6]:PORT`; port 0 is any that is free. Raises ValueError."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") if host.startswith("[") else host
    if not colon or not host or not port.isdecimal() or int(port) > 65535 or (":" in host and text[0] != "["):
        raise ValueError(f"{text!r} is no HOST:PORT, such as 127.0.0.1:8765 or [::1]:8765")
    return host, int(port)


def _address(value: object, _: object) -> str:
    text = validation.string(value, str)
    try:
        host_and_port(text)
    except ValueError as error:
        raise InvalidValue(str(error)) from error
    return text


def _root(value: object, _: object) -> str:
    text = validation.string(value, str)
    if not text or (text.startswith("~") and not text.startswith("~/") and text != "~"):
        raise InvalidValue(
            f"expected a path: absolute, from ~/, or from the session's directory, not {text!r}"
        )
    if any(sign in text for sign in "*?$"):
        raise InvalidValue(
            f"expected a path, not {text!r}: it has no patterns and no variables; a directory stands for all below it"
        )
    return text


def _make_converter() -> cattrs.Converter:
    converter = cattrs.Converter(forbid_extra_keys=True)
    converter.register_structure_hook(str, validation.string)
    converter.register_structure_hook(int, validation.integer)
    converter.register_structure_hook(float, validation.number)
    converter.register_structure_hook(bool, validation.boolean)
    for choice in (Policy, Action, Unattended, Restart, Quiet, Durability):
        converter.register_structure_hook(choice, validation.choice)
    converter.register_structure_hook_func(lambda kind: kind == tuple[str, ...], validation.strings)
    converter.register_structure_hook_func(lambda kind: kind == dict[str, str], validation.string_table)
    converter.register_structure_hook_func(
        lambda kind: kind == dict[str, AgentConfig], lambda value, _: _agents(converter, value)
    )
    converter.register_structure_hook_func(
        lambda kind: kind == tuple[Rule, ...], lambda value, _: _rules(converter, value)
    )
    command = override(struct_hook=validation.command)
    notify = override(struct_hook=lambda value, kind: validation.command(value, kind) if value else ())
    register(
        converter,
        PolicyConfig,
        make_dict_structure_fn(PolicyConfig, converter, notify=notify, **range_overrides(PolicyConfig)),
    )
    kind, title, path = (override(struct_hook=hook) for hook in (_kinds, _pattern, _root))
    register(converter, Rule, make_dict_structure_fn(Rule, converter, kind=kind, title=title, path=path))
    register(
        converter,
        AgentConfig,
        make_dict_structure_fn(
            AgentConfig,
            converter,
            command=command,
            terminal=override(struct_hook=_terminal),
            fs=override(struct_hook=_fs),
            **range_overrides(AgentConfig),
        ),
    )
    listen = make_dict_structure_fn(
        ListenConfig, converter, websocket=override(struct_hook=_address), **range_overrides(ListenConfig)
    )
    register(converter, ListenConfig, listen)
    for table in (BrokerConfig, JournalConfig, Config):
        register(converter, table, make_dict_structure_fn(table, converter, **range_overrides(table)))
    return converter


_converter = _make_converter()
