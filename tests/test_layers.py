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
    "record": "",
    "toolpaths": "",
    "policy": "errors toolpaths",
    "grant": "",
    "paths": "errors",
    "strict": "",
    "config": "errors policy strict",
    "installed": "errors",
    "catalog": "errors config installed",
    "wire": "errors",
    "state": "wire",
    "replay": "errors record wire",
    "history": "record replay wire",
    # what is kept
    "exported": "errors record wire",
    "changes": "record",
    "journal": "errors record exported changes",
    "memory": "",
    "folding": "errors journal memory",
    "keeper": "containment errors record changes journal folding",
    "tokens": "errors grant",
    "reserving": "",
    "log": "errors record changes keeper reserving wire",
    "scopes": "errors grant",
    # one agent
    "marks": "",
    "guardian": "",
    "kin": "marks guardian",
    "atonce": "",
    "process": "errors model catalog atonce",
    "notify": "marks process",
    "line": "errors model wire process",
    "turn": "containment model wire policy",
    "turns": "errors model wire line log turn",
    "ask": "errors wire policy line log",
    "asks": "errors model wire policy life line log turns ask",
    "relay": "errors model wire policy ask asks line log",
    "redact": "",
    "life": "errors redact grant wire policy config catalog process line",
    "limits": "config life line log turn turns asks",
    "control": "wire line life",
    "resuming": "errors wire life line log relay state",
    "session": "errors model wire config control limits line life log turn turns ask asks relay resuming state",
    # all of them
    "pool": "",
    "circuit": "errors",
    "view": "model ask session turn",
    "usage": "",
    "watching": "ask grant session usage view wire",
    "archive": "errors grant changes exported journal keeper",
    "opening": "errors grant scopes wire policy config catalog life session turn",
    "saving": "errors grant record wire policy config catalog changes journal keeper life log session state turn asks",
    "registry": "errors config installed catalog circuit control life",
    "spawning": "catalog kin life marks process",
    "containment": "",
    "broker": "containment errors link model config installed grant pool registry view watching spawning changes "
    "journal keeper log archive tokens opening control life state saving session ask notify",
    # the doors
    "outbox": "record wire log",
    "link": "atonce wire",
    "httphead": "errors",
    "tcp": "errors config",
    "websocket": "link wire",
    "dial": "errors link wire websocket",
    "degrade": "wire",
    "frames": "record wire",
    "connection": "errors grant scopes degrade link model wire policy record frames catalog line log turn control "
    "session broker outbox",
    "prompting": "errors opening model wire turn session connection",
    "upward": "errors grant scopes degrade opening model wire record replay line log session broker connection "
    "prompting",
    "logverbs": "errors model wire record history log session connection upward",
    "tokenverbs": "errors grant wire connection",
    "askverbs": "errors grant wire record ask session connection upward view logverbs",
    "queueverbs": "errors grant scopes opening wire turn session connection upward view logverbs",
    "verbs": "errors grant scopes opening model wire catalog turn session broker connection prompting view logverbs "
    "tokenverbs askverbs queueverbs opsverbs",
    "reloading": "config notify broker",
    "opsverbs": "errors config opening reloading wire broker connection logverbs",
    "serve": "errors grant link wire broker connection upward verbs",
    "unixdoor": "containment errors link wire broker opsverbs serve",
    "webdoor": "containment errors config grant link broker connection httphead tcp websocket serve",
    "probe": "errors wire catalog config control kin life line marks process spawning",
    "listen": "errors config installed paths link marks kin spawning journal keeper tokens tcp broker unixdoor webdoor",
    # the other side of the socket
    "once": "errors",
    "client": "errors once wire link dial outbox",
    "tui": "errors client wire",
    "cli.top": "errors client tui",
    "cli": "errors model config paths installed catalog policy wire once client demo_agent marks",
    "cli.probing": "errors config catalog probe",  # it starts an agent itself: no broker need run
    "cli.doctor": "errors config catalog probe spawning",  # as above
    "cli.mistakes": "errors config installed catalog strict tcp",  # what the daemon would say, before it is started
    "cli.pump": "errors link websocket dial",
    "cli.daemon": "errors model config paths catalog policy wire client broker serve listen memory",  # the daemon
    "__main__": "cli demo_agent",
    # run by agents' own processes, hundreds of which are started in a test: they import hardly anything
    "testing": "",
    "testing.chaos": "errors wire client",
    "cli.chaos": "testing",
    "testing.check": "errors marks link dial wire",
    "cli.check": "errors catalog process testing",
    "testing.clients.user": "client errors link wire",
    "testing.clients.websocket_peer": "wire",
    "testing.in_process.memory_agent": "model process life",
    "testing.in_process.rig": "containment grant link config journal keeper life session spawning broker serve "
    "client",
    "testing.in_process.websocket": "ask config grant session tcp client webdoor dial",
    "testing.in_process.invariants": "errors record session wire",
    "testing.in_process.faults": "errors life process",
    "testing.processes.daemon": "dial link",
    "testing.plugin": "config",
    "demo_agent": "testing",
}

ONLY_STANDARD_LIBRARY = (
    "marks",
    "guardian",
    "once",
    "demo_agent",
    "testing.agent",
    "testing.processes",
    "testing.processes.agent_process",
    "testing.processes.watchdog",
    "testing.scripted_agent",
    "testing.scripted_agent.actions",
    "testing.scripted_agent.agent",
    "testing.scripted_agent.help_text",
    "testing.scripted_agent.script",
    "testing.scripted_agent.session_store",
    "testing.scripted_agent.stdio",
    "__main__",
    "__init__",
)

# What a room may not have from outside. Sans-IO: bytes and values only. Pure: no tasks.
TASKS = "trio trio_util trio_websocket asyncio threading concurrent"
SANS_IO = (
    f"{TASKS} logging structlog time datetime socket select selectors ssl os pathlib io subprocess signal"
)
NEVER = {
    "wire": SANS_IO,
    "model": SANS_IO.replace(" signal", ""),  # signals have names
    "policy": SANS_IO,
    "toolpaths": SANS_IO,
    "errors": SANS_IO,
    "record": SANS_IO,
    "exported": SANS_IO,
    "journal": f"{TASKS.replace(' threading', '')} logging structlog",  # blocking: it runs in threads of others
    "httphead": SANS_IO,
    "degrade": SANS_IO,
    "redact": SANS_IO,
    "grant": SANS_IO.replace(" pathlib", ""),  # pure paths
    "strict": SANS_IO,
    "config": TASKS,
    "catalog": TASKS,
    "pool": f"{SANS_IO} random",
    "process": "json msgspec",
    "session": "socket os subprocess signal",
    "turn": "socket os subprocess signal",
    "turns": "socket os subprocess signal",
    "line": "socket os subprocess signal",
    "broker": "msgspec json socket subprocess signal",
}

# The CLI starts fast: these are imported where they are used.
LATE_IN_CLI = ("broker", "serve", "listen")

# contained() is here: only `except*`, a plain `except Exception` misses a failure in a cancellation.
MAY_CONTAIN = ("containment",)

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
    if module == "__init__":
        return []
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
        graph.setdefault(house_of(room), set()).update(house_of(target) for target in targets.split())
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
    for node in ast.walk(tree_of("pool")):
        assert not isinstance(node, WAITING), (
            f"{MODULES['pool']}: line {getattr(node, 'lineno', '?')} may wait"
        )


@pytest.mark.parametrize("module", MODULES)
def test_a_file_is_short(module: str) -> None:
    lines = len(MODULES[module].read_text(encoding="utf-8").splitlines())
    assert lines <= LONG.get(module, MAX_LINES), (
        f"{MODULES[module]} has {lines} lines: split it, or say why in LONG"
    )
