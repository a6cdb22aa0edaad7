"""What is asked often, and answered at once, imports little: counted in modules, as time differs between machines."""

from __future__ import annotations

import subprocess
import sys

import pytest

from trio_broker.testing.processes.home import LIMIT, Home

HEAVY = {
    *("trio", "trio_websocket", "trio_util", "rich", "msgspec", "cattrs", "platformdirs", "psutil"),
    *("asyncio", "concurrent", "sqlite3", "ssl", "subprocess", "tomllib", "difflib", "multiprocessing"),
    *(
        "click.testing",
        "trio_broker.config.config",
        "trio_broker.client.client",
        "trio_broker.agent.catalog",
    ),
}


def imported(home: Home, *words: str) -> set[str]:
    """What the interpreter says that it imported, the command's own modules included.

    The command is not measured by coverage, which would import more.
    """
    env = {name: value for name, value in home.env.items() if not name.startswith("COVERAGE_")}
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "trio_broker", *words],
        env={**env, "XDG_RUNTIME_DIR": str(home.path)},
        capture_output=True,
        encoding="utf-8",
        timeout=LIMIT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip() for line in lines}


@pytest.mark.parametrize(
    "words",
    [["--version"], ["--help"], ["status"], ["status", "--format", "json"], ["pending"]],
    ids=" ".join,
)
def test_what_is_quick_leaves_out_all_that_is_heavy(shared: Home, words: list[str]) -> None:
    shared.run("up")
    found = imported(shared, *words)
    assert {"click", "trio_broker.cli.app"} <= found, "importtime tells what is imported"
    assert found & HEAVY == set()


def test_a_prompt_that_asks_nothing_leaves_out_what_it_does_not_need(shared: Home) -> None:
    shared.run("up")
    assert not imported(shared, "prompt", "say hello") & {
        "sqlite3",
        "rich",
        "trio_broker.journal.log",
        "trio_broker.protocol.acp",
    }


def test_what_is_heavy_is_seen_where_it_is_needed(shared: Home) -> None:
    """So that a renamed module does not make the test above pass for ever."""
    shared.run("up")
    assert {"trio", "msgspec", "trio_broker.client.client"} <= imported(shared, "prompt", "say hello")
    assert {"cattrs", "tomllib", "trio_broker.config.config"} <= imported(shared, "config", "check")
