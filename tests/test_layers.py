"""Who may import whom: DESIGN's rooms as a table, held against the syntax trees of trio_broker/.

To allow one more import, change the table, in a commit of its own that says why.
"""

from __future__ import annotations

import ast
import graphlib
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "trio_broker"

# A room is a module or a folder. Its own modules may import each other; `__version__` is anybody's.
MAY_IMPORT = {
    # values
    "errors": "",
    "model": "errors",
    "journal.record": "",
    "auth.toolpaths": "",
    "auth.policy": "errors auth.toolpaths",
    "auth.grant": "",
    "config.paths": "errors",
    "config.validation": "",
    "config.config": "errors auth.policy config.validation",
    "agent.installed": "errors",
    "agent.catalog": "errors config.config agent.installed",
    "protocol": "errors",
    "session.state": "protocol",
    "journal.replay": "errors journal.record protocol",
    "journal.transcript": "journal.record journal.replay protocol",
    # what is kept
    "journal.export": "errors journal.record protocol",
    "journal.changes": "journal.record",
    "journal.store": "errors journal.record journal.export journal.changes",
    "journal.folding": "errors journal.store ioutil",
    "journal.keeper": "supervision errors journal.record journal.changes journal.store journal.folding",
    "auth.tokens": "errors auth.grant",
    "journal.reserving": "",
    "journal.log": "errors journal.record journal.changes journal.keeper journal.reserving protocol",
    "auth.scopes": "errors auth.grant",
    # one agent
    "agent.process_tags": "",
    "agent.guardian": "",
    "agent.orphans": "agent.process_tags agent.guardian",
    "ioutil": "",
    "agent.process": "errors model agent.catalog ioutil",
    "broker.notify": "agent.process_tags agent.process",
    "agent.connection": "errors model protocol agent.process",
    "session.turn": "supervision model protocol auth.policy",
    "session.turn_queue": "errors model protocol agent.connection journal.log session.turn",
    "session.agent_request": "errors protocol auth.policy agent.connection journal.log",
    "session.permissions": "errors model protocol auth.policy agent.lifecycle agent.connection "
    "journal.log session.turn_queue session.agent_request",
    "session.router": "errors model protocol auth.policy session.agent_request session.permissions "
    "agent.connection journal.log",
    "agent.redact": "",
    "agent.lifecycle": "errors agent.redact auth.grant protocol auth.policy config.config "
    "agent.catalog agent.process agent.connection",
    "session.timers": "config.config agent.lifecycle agent.connection journal.log session.turn "
    "session.turn_queue session.permissions",
    "agent.control": "protocol agent.connection agent.lifecycle",
    "session.resume": "errors protocol agent.lifecycle agent.connection journal.log session.router "
    "session.state",
    "session.session": "errors model protocol config.config agent.control session.timers agent.connection "
    "agent.lifecycle journal.log session.turn session.turn_queue "
    "session.agent_request session.permissions session.router "
    "session.resume session.state",
    # all of them
    "broker.sessions": "",
    "broker.backoff": "errors",
    "broker.view": "model session.agent_request session.session session.turn",
    "broker.usage": "",
    "broker.status": "session.agent_request auth.grant session.session broker.usage broker.view protocol",
    "journal.archive": "errors auth.grant journal.changes journal.export journal.store journal.keeper",
    "broker.open_request": "errors auth.grant auth.scopes protocol auth.policy config.config agent.catalog "
    "agent.lifecycle session.session session.turn",
    "broker.recovery": "errors auth.grant journal.record protocol auth.policy config.config agent.catalog "
    "journal.changes journal.store "
    "journal.keeper agent.lifecycle journal.log "
    "session.session session.state session.turn session.permissions",
    "broker.agents": "errors config.config agent.installed agent.catalog broker.backoff "
    "agent.control agent.lifecycle",
    "agent.spawn": "agent.catalog agent.orphans agent.lifecycle agent.process_tags agent.process",
    "supervision": "",
    "broker.broker": "supervision errors transport.base model config.config agent.installed auth.grant "
    "broker.sessions broker.agents "
    "broker.view broker.status "
    "agent.spawn journal.changes "
    "journal.store journal.keeper journal.log journal.archive auth.tokens broker.open_request agent.control "
    "agent.lifecycle "
    "session.state broker.recovery session.session session.agent_request broker.notify",
    # the doors
    "transport.outbox": "journal.record protocol journal.log",
    "transport.base": "ioutil protocol",
    "transport.http": "errors",
    "transport.listeners": "errors config.config",
    "transport.websocket": "transport.base protocol",
    "transport.connect": "errors transport.base protocol transport.websocket",
    "protocol.capabilities": "protocol",
    "server.subscription": "journal.record protocol",
    "server.connection": "errors auth.grant auth.scopes protocol.capabilities transport.base model protocol "
    "auth.policy journal.record "
    "server.subscription agent.catalog agent.connection journal.log session.turn agent.control "
    "session.session broker.broker transport.outbox",
    "server.methods.prompt": "errors broker.open_request model protocol session.turn "
    "session.session server.connection",
    "server.methods.acp": "errors auth.grant auth.scopes protocol.capabilities broker.open_request "
    "model protocol "
    "journal.record journal.replay agent.connection "
    "journal.log session.session broker.broker server.connection "
    "server.methods.prompt",
    "server.methods.log": "errors model protocol journal.record journal.transcript journal.log "
    "session.session "
    "server.connection server.methods.acp",
    "server.methods.tokens": "errors auth.grant protocol server.connection",
    "server.methods.permissions": "errors auth.grant protocol journal.record session.agent_request "
    "session.session "
    "server.connection server.methods.acp broker.view server.methods.log",
    "server.methods.queue": "errors auth.grant auth.scopes broker.open_request protocol "
    "session.turn session.session "
    "server.connection server.methods.acp "
    "broker.view server.methods.log",
    "server.methods.sessions": "errors auth.grant auth.scopes broker.open_request model protocol "
    "agent.catalog session.turn "
    "session.session "
    "broker.broker server.connection "
    "server.methods.prompt broker.view server.methods.log "
    "server.methods.tokens server.methods.permissions server.methods.queue server.methods.admin",
    "server.methods.reloading": "config.config broker.notify broker.broker",
    "server.methods.admin": "errors config.config broker.open_request server.methods.reloading "
    "protocol broker.broker "
    "server.connection server.methods.log",
    "server.serve": "errors auth.grant transport.base protocol broker.broker server.connection "
    "server.methods.acp server.methods.sessions",
    "server.unix": "supervision errors transport.base protocol broker.broker server.methods.admin "
    "server.serve",
    "server.websocket": "supervision errors config.config auth.grant transport.base broker.broker "
    "server.connection "
    "transport.http transport.listeners "
    "transport.websocket server.serve",
    "agent.probe": "errors protocol agent.catalog config.config agent.control agent.orphans "
    "agent.lifecycle agent.connection agent.process_tags agent.process agent.spawn",
    "daemon": "errors config.config agent.installed config.paths transport.base agent.process_tags "
    "agent.orphans agent.spawn journal.store "
    "journal.keeper "
    "auth.tokens transport.listeners "
    "broker.broker server.unix server.websocket",
    # the other side of the socket
    "client.blocking": "errors",
    "client": "errors client.blocking protocol transport.base transport.connect transport.outbox",
    "tui": "errors client protocol",
    "cli.top": "errors client tui",
    "cli": "errors model config.config config.paths agent.installed agent.catalog auth.policy "
    "protocol client.blocking client "
    "demo_agent agent.process_tags",
    "cli.probing": "errors config.config agent.catalog agent.probe",  # it starts an agent itself: no broker need run
    "cli.doctor": "errors config.config agent.catalog agent.probe agent.spawn",  # as above
    "cli.mistakes": "errors config.config agent.installed agent.catalog config.validation "
    "transport.listeners",
    "cli.pump": "errors transport.base transport.websocket transport.connect",
    "cli.daemon": "errors model config.config config.paths agent.catalog auth.policy protocol "
    "client broker.broker "
    "server.serve daemon "
    "ioutil",  # the daemon
    "__main__": "cli demo_agent",
    # run by agents' own processes, hundreds of which are started in a test: they import hardly anything
    "testing": "",
    "testing.memory": "model agent.process agent.lifecycle",
    "testing.rig": "supervision errors auth.grant transport.base model config.config protocol journal.store "
    "journal.keeper "
    "agent.lifecycle session.session "
    "broker.broker server.serve client",
    "testing.invariants": "errors journal.record session.session protocol",
    "testing.faults": "errors agent.lifecycle agent.process",
    "testing.chaos": "errors protocol client",
    "cli.chaos": "testing",
    "testing.check": "errors agent.process_tags transport.base transport.connect protocol",
    "cli.check": "errors agent.catalog agent.process testing",
    "testing.peer": "protocol",
    "testing.web": "session.agent_request config.config auth.grant session.session "
    "transport.listeners protocol "
    "client server.websocket transport.connect",
    "testing.real": "transport.connect transport.base config.config agent.spawn protocol",
    "testing.plugin": "config.config",
    "demo_agent": "testing",
}

ONLY_STANDARD_LIBRARY = (
    "agent.process_tags",
    "agent.guardian",
    "client.blocking",
    "demo_agent",
    "testing.acts",
    "testing.agent",
    "testing.remembered",
    "testing.scripted",
    "testing.stdio",
    "testing.talk",
    "testing.warden",
    "testing.words",
    "__main__",
    "__init__",
)

# What a room may not have from outside. Sans-IO: bytes and values only. Pure: no tasks.
TASKS = "trio trio_util trio_websocket asyncio threading concurrent"
SANS_IO = (
    f"{TASKS} logging structlog time datetime socket select selectors ssl os pathlib io subprocess signal"
)
NEVER = {
    "protocol": SANS_IO,
    "model": SANS_IO.replace(" signal", ""),  # signals have names
    "auth.policy": SANS_IO,
    "auth.toolpaths": SANS_IO,
    "errors": SANS_IO,
    "journal.record": SANS_IO,
    "journal.export": SANS_IO,
    "journal.store": f"{TASKS.replace(' threading', '')} logging structlog",  # blocking: it runs in threads of others
    "transport.http": SANS_IO,
    "protocol.capabilities": SANS_IO,
    "agent.redact": SANS_IO,
    "auth.grant": SANS_IO.replace(" pathlib", ""),  # pure paths
    "config.validation": SANS_IO,
    "config.config": TASKS,
    "agent.catalog": TASKS,
    "broker.sessions": f"{SANS_IO} random",
    "agent.process": "json msgspec",
    "session.session": "socket os subprocess signal",
    "session.turn": "socket os subprocess signal",
    "session.turn_queue": "socket os subprocess signal",
    "agent.connection": "socket os subprocess signal",
    "broker.broker": "msgspec json socket subprocess signal",
}

# The CLI starts fast: these are imported where they are used.
LATE_IN_CLI = ("broker.broker", "server.serve", "daemon")

# contained() is here: only `except*`, a plain `except Exception` misses a failure in a cancellation.
MAY_CONTAIN = ("supervision",)

BROAD = {"Exception", "BaseException", "ExceptionGroup", "BaseExceptionGroup"}
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
WAITING = (ast.AsyncFunctionDef, ast.Await, ast.AsyncFor, ast.AsyncWith)

MAX_LINES = 400
LONG: dict[str, int] = {}


def name_of(path: Path) -> str:
    """`wire.jsonrpc` for wire/jsonrpc.py, `wire` for wire/__init__.py, `__init__` for the package's own."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def room_of(name: str) -> str | None:
    """The table's most special entry for a module, or for a name in one: `wire` for wire.jsonrpc.Message."""
    return max((room for room in MAY_IMPORT if f"{name}.".startswith(f"{room}.")), key=len, default=None)


def house_of(room: str) -> str:
    """Rooms in one folder belong together: `cli` for cli.daemon."""
    return room.partition(".")[0]


@cache
def tree_of(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


def imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and full name of whatever is imported anywhere in a tree: `trio_broker.errors.BadMessage`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are absolute here"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def ours(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """The same for what is imported from trio_broker, without that word."""
    for line, name in imported(tree):
        package, _, rest = name.partition(".")
        if package == "trio_broker" and rest != "__version__":
            yield line, rest


def foreign(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """The same for the top-level packages of others."""
    for line, name in imported(tree):
        package = name.partition(".")[0]
        if package not in ("trio_broker", "__future__"):
            yield line, package


def allowed_in(module: str) -> list[str]:
    if MODULES[module].name == "__init__.py" and module not in MAY_IMPORT:
        return [module]
    room = room_of(module)
    assert room is not None, f"{module} is in no room: give it a line in MAY_IMPORT"
    return [*MAY_IMPORT[room].split(), house_of(room)]


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_what_its_room_may(module: str) -> None:
    allowed = allowed_in(module)
    for line, name in ours(tree_of(module)):
        room = room_of(name)
        fine = room is not None and (room in allowed or house_of(room) in allowed)
        assert fine, f"{MODULES[module]}:{line}: may not import {name}; its room may: {' '.join(allowed)}"


@pytest.mark.parametrize("room", NEVER)
def test_a_room_keeps_out_what_it_never_touches(room: str) -> None:
    banned = NEVER[room].split()
    for module, path in MODULES.items():
        if room_of(module) == room:
            for line, package in foreign(tree_of(module)):
                assert package not in banned, f"{path}:{line}: {room} never touches {package}"


@pytest.mark.parametrize("module", ONLY_STANDARD_LIBRARY)
def test_what_starts_fast_has_only_the_standard_library(module: str) -> None:
    for line, package in foreign(tree_of(module)):
        assert package in sys.stdlib_module_names, f"{MODULES[module]}:{line}: imports {package}"


def test_imports_go_one_way() -> None:
    graph: dict[str, set[str]] = {}
    for room, targets in MAY_IMPORT.items():
        house = house_of(room)
        graph.setdefault(house, set()).update({house_of(target) for target in targets.split()} - {house})
    assert tuple(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError


def test_every_room_of_the_table_is_a_module() -> None:
    for room in MAY_IMPORT:
        assert room in MODULES, f"MAY_IMPORT has {room}, trio_broker/ has not"


def test_the_cli_imports_the_daemon_late() -> None:
    for module, path in MODULES.items():
        statements = tree_of(module).body if house_of(module) == "cli" else []
        for statement in statements:
            early = [] if isinstance(statement, FUNCTIONS) else [name for _, name in ours(statement)]
            slow = [name for name in early if room_of(name) in LATE_IN_CLI]
            assert not slow, f"{path}:{statement.lineno}: import {slow} in the function that needs it"


def broad_catches(tree: ast.Module) -> Iterator[tuple[int, bool]]:
    """Line of each `except` and `suppress` that takes (nearly) everything, and whether it is an `except*`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Try | ast.TryStar):
            for handler in node.handlers:
                if handler.type is None or names_in(handler.type) & BROAD:
                    yield handler.lineno, isinstance(node, ast.TryStar)
        elif isinstance(node, ast.Call) and names_in(node.func) & {"suppress"}:
            yield from ((node.lineno, False) for argument in node.args if names_in(argument) & BROAD)


def names_in(node: ast.expr) -> set[str]:
    names = {child.id for child in ast.walk(node) if isinstance(child, ast.Name)}
    return names | {child.attr for child in ast.walk(node) if isinstance(child, ast.Attribute)}


@pytest.mark.parametrize("module", MODULES)
def test_nothing_but_contained_catches_broadly(module: str) -> None:
    for line, star in broad_catches(tree_of(module)):
        assert star and module in MAY_CONTAIN, (
            f"{MODULES[module]}:{line}: catches what it can't know (STYLE, Tasks)"
        )


def test_broad_catches_are_seen() -> None:
    caught = """
try: ...
except Exception: ...
try: ...
except (ValueError, builtins.BaseException): ...
try: ...
except: ...
with contextlib.suppress(Exception): ...
try: ...
except* Exception: ...
try: ...
except OSError: ...
"""
    assert sorted(broad_catches(ast.parse(caught))) == [
        (3, False),
        (5, False),
        (7, False),
        (8, False),
        (10, True),
    ]


def test_the_pool_never_waits() -> None:
    for node in ast.walk(tree_of("broker.sessions")):
        assert not isinstance(node, WAITING), (
            f"{MODULES['broker.sessions']}: line {getattr(node, 'lineno', '?')} may wait"
        )


@pytest.mark.parametrize("module", MODULES)
def test_a_file_is_short(module: str) -> None:
    lines = len(MODULES[module].read_text(encoding="utf-8").splitlines())
    assert lines <= LONG.get(module, MAX_LINES), (
        f"{MODULES[module]} has {lines} lines: split it, or say why in LONG"
    )
