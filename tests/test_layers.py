"""Who may import whom: the folders of trio_broker/ as a table, checked against the syntax trees of its modules.

Imports inside functions and under TYPE_CHECKING count as all others do, so that nothing evades the table. To allow one
more import, change the table, in a commit of its own that says why.
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

# What a folder, or a module at the root of the package, may import besides itself: whole folders, or single modules of
# them by their dotted names. An entry for a single module stands instead of its folder's.
MAY_IMPORT = {
    # values, and helpers without knowledge of the broker
    "errors": "",
    "model": "errors",
    "supervision": "",
    "ioutil": "",
    "protocol": "errors",
    "auth": "errors",
    "config": "errors auth.call auth.policy",  # the kinds of tools, and rules
    # from the disk and the agent's process up to the set of sessions
    "journal": "errors ioutil supervision protocol auth.grant",
    "agent": "errors model ioutil protocol auth config",
    "session": "errors model supervision protocol auth config journal agent",
    "broker": "errors model supervision protocol auth config journal agent session",
    # from the socket down to the set of sessions
    "transport": "errors model ioutil protocol config journal.log journal.record",  # of the journal: types only
    "server": "errors model supervision protocol auth config journal session broker transport",
    "daemon": "errors model auth config journal agent broker transport server",
    # the other side of the socket
    "client": "errors protocol transport",
    "tui": "errors protocol client",
    "cli": "errors protocol auth.policy config agent.catalog agent.installed agent.process_tags client demo_agent",
    "cli.daily.status": "errors tui",  # `top`
    "cli.agents.probe": "protocol agent.catalog agent.probe",  # it starts an agent itself: no broker need run
    "cli.agents.login": "errors protocol agent.catalog agent.probe agent.spawn",  # as above, as the broker would
    "cli.daemon.doctor": "errors protocol config agent.catalog agent.probe agent.process_tags",  # as above
    "cli.daemon.config_check": "errors config agent.installed agent.catalog transport.listeners",  # the daemon's checks
    "cli.daemon.serve": "errors config ioutil daemon",  # `serve` is the daemon
    "cli.remote.websocket_pump": "errors model transport",
    "cli.testing.check": "errors agent.catalog agent.spawn testing",
    "cli.testing.chaos": "testing",
    "__main__": "cli demo_agent",
    # run by agents' own processes, hundreds of which are started in a test: they import hardly anything
    "demo_agent": "testing",
    "testing": "",
    "testing.chaos": "errors protocol client",
    "testing.check": "errors protocol agent.process_tags transport",
    "testing.clients.user": "errors protocol client transport",
    "testing.clients.websocket_peer": "protocol",
    "testing.in_process.memory_agent": "model agent",
    "testing.in_process.rig": "supervision auth config journal agent session broker server transport client",
    "testing.in_process.websocket": "auth config session server transport client",
    "testing.in_process.invariants": "errors protocol journal session",
    "testing.in_process.faults": "errors agent",
    "testing.processes.daemon": "transport",
    "testing.plugin": "config",
}

ONLY_STANDARD_LIBRARY = (
    "agent.process_tags",
    "agent.guardian",
    "client.blocking",
    "demo_agent",
    "testing.agent",
    "testing.processes",
    "testing.processes.agent_process",
    "testing.processes.watchdog",
    "testing.scripted_agent",
    "testing.scripted_agent.actions",
    "testing.scripted_agent.agent",
    "testing.scripted_agent.help_text",
    "testing.scripted_agent.questions",
    "testing.scripted_agent.script",
    "testing.scripted_agent.session_store",
    "testing.scripted_agent.stdio",
    "testing.scripted_agent.tools",
    "testing.scripted_agent.turn",
    "__main__",
    "__init__",
)

# What a folder, or a module, never imports from outside. Sans-I/O: bytes and values only. Pure: no tasks.
TASKS = "trio trio_util trio_websocket asyncio threading concurrent"
SANS_IO = (
    f"{TASKS} logging structlog time datetime socket select selectors ssl os pathlib io subprocess signal"
)
NEVER = {
    "errors": SANS_IO,
    "model": SANS_IO.replace(" signal", ""),  # signals have names
    "protocol": SANS_IO,
    "auth.grant": SANS_IO.replace(" pathlib", ""),  # pure paths
    "auth.policy": SANS_IO,
    "config": TASKS,
    "config.validation": SANS_IO,
    "journal.record": SANS_IO,
    "journal.export": SANS_IO,
    "journal.store": f"{TASKS.replace(' threading', '')} logging structlog",  # it blocks, in threads of others
    "agent.catalog": TASKS,
    "agent.connection": "socket os subprocess signal",
    "agent.process": "json msgspec",
    "agent.redact": SANS_IO,
    "session.session": "socket os subprocess signal",
    "session.turn_queue": "socket os subprocess signal",
    "broker.broker": "msgspec json socket subprocess signal",
    "broker.sessions": f"{SANS_IO} random",
    "transport.http": SANS_IO,
}

# The CLI starts fast: these are imported where they are used.
LATE_IN_CLI = ("broker.broker", "server.serve", "daemon")

# contained() is here: only `except*`, a plain `except Exception` misses a failure in a cancellation.
MAY_CONTAIN = ("supervision",)

BROAD = {"Exception", "BaseException", "ExceptionGroup", "BaseExceptionGroup"}
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
WAITING = (ast.AsyncFunctionDef, ast.Await, ast.AsyncFor, ast.AsyncWith)

# Packages that import their modules when one of their names is first used, so as to start fast.
LAZY = ("client", "testing")

MOST_FILES = 12
MAX_LINES = 400
LONG: dict[str, int] = {}


def name_of(path: Path) -> str:
    """`protocol.jsonrpc` for protocol/jsonrpc.py, `protocol` for protocol/__init__.py, `__init__` for the package's."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}
FOLDERS = sorted({path.parent for path in MODULES.values()})


def is_in(name: str, place: str) -> bool:
    """Whether a dotted name is `place`, or lies in it."""
    return f"{name}.".startswith(f"{place}.")


def entry_of(module: str) -> str | None:
    """The most special entry of the table for a module."""
    return max((entry for entry in MAY_IMPORT if is_in(module, entry)), key=len, default=None)


def folder_of(name: str) -> str:
    """The folder at the root of the package: `cli` for cli.daemon.serve."""
    return name.partition(".")[0]


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
    """The same for what is imported from trio_broker, without that word. `__version__` is anybody's."""
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
    entry = entry_of(module)
    assert entry is not None, f"{module} is in no folder of the table: give it an entry in MAY_IMPORT"
    return [*MAY_IMPORT[entry].split(), folder_of(entry)]


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_what_its_folder_may(module: str) -> None:
    allowed = allowed_in(module)
    for line, name in ours(tree_of(module)):
        fine = any(is_in(name, place) for place in allowed)
        assert fine, f"{MODULES[module]}:{line}: may not import {name}; it may import: {' '.join(allowed)}"


@pytest.mark.parametrize("place", NEVER)
def test_a_folder_keeps_out_what_it_never_touches(place: str) -> None:
    banned = NEVER[place].split()
    for module, path in MODULES.items():
        if is_in(module, place):
            for line, package in foreign(tree_of(module)):
                assert package not in banned, f"{path}:{line}: {place} never touches {package}"


@pytest.mark.parametrize("module", ONLY_STANDARD_LIBRARY)
def test_what_starts_fast_has_only_the_standard_library(module: str) -> None:
    for line, package in foreign(tree_of(module)):
        assert package in sys.stdlib_module_names, f"{MODULES[module]}:{line}: imports {package}"


def test_folders_import_in_one_direction() -> None:
    graph: dict[str, set[str]] = {}
    for entry, targets in MAY_IMPORT.items():
        folder = folder_of(entry)
        graph.setdefault(folder, set()).update({folder_of(target) for target in targets.split()} - {folder})
    assert tuple(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError


def test_modules_import_in_one_direction() -> None:
    graph = {module: modules_of(module) for module in MODULES if module not in LAZY}
    assert tuple(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError


def modules_of(module: str) -> set[str]:
    """The modules that a module imports, wherever in it."""
    names = {name for _, name in ours(tree_of(module))}
    return {max((other for other in MODULES if is_in(name, other)), key=len) for name in names} - {module}


@pytest.mark.parametrize("place", [*MAY_IMPORT, *NEVER, *ONLY_STANDARD_LIBRARY, *LAZY, *LONG])
def test_every_name_in_the_tables_is_a_module(place: str) -> None:
    assert place in MODULES, f"trio_broker/ has no {place}"
    for name in MAY_IMPORT.get(place, "").split():
        assert name in MODULES, f"trio_broker/ has no {name}, which {place} may import"


def test_no_entry_allows_what_nobody_imports() -> None:
    used: dict[str, set[str]] = {entry: set() for entry in MAY_IMPORT}
    for module in MODULES:
        if (entry := entry_of(module)) is not None:
            names = {name for _, name in ours(tree_of(module))}
            used[entry] |= {
                place for place in MAY_IMPORT[entry].split() if any(is_in(name, place) for name in names)
            }
    unused = {entry: {*MAY_IMPORT[entry].split()} - found for entry, found in used.items()}
    assert {entry: names for entry, names in unused.items() if names} == {}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_folder_can_be_surveyed_and_says_what_it_owns(folder: Path) -> None:
    files = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
    assert len(files) <= MOST_FILES, (
        f"{folder} has {len(files)} modules: a reader surveys {MOST_FILES} at once"
    )
    if folder != PACKAGE:
        text = ast.get_docstring(tree_of(name_of(folder / "__init__.py"))) or ""
        assert len(text.split()) >= 20, (
            f"{folder}/__init__.py: what the folder owns, and in which order to read it"
        )


def test_the_cli_imports_the_daemon_late() -> None:
    for module, path in MODULES.items():
        statements = tree_of(module).body if folder_of(module) == "cli" else []
        for statement in statements:
            early = [] if isinstance(statement, FUNCTIONS) else [name for _, name in ours(statement)]
            slow = [name for name in early if folder_of(name) in LATE_IN_CLI]
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
