"""What the tests with the official SDKs share: a broker, and for Node the SDK itself."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from trio_broker.testing.processes.home import CONFIG, Home

PACKAGE = "@agentclientprotocol/sdk"
PINNED = {PACKAGE: "2.4.0", "zod": "4.4.3", "ws": "8.18.3"}
FLAGS = ("--no-audit", "--no-fund", "--ignore-scripts", "--no-package-lock", "--save-exact")


@pytest.fixture(scope="module")
def home() -> Iterator[Home]:
    with Home(f'{CONFIG}\n[listen]\nwebsocket = "127.0.0.1:0"\n') as home:
        yield home


@pytest.fixture(scope="module")
def token(home: Home) -> str:
    """An admin's token of that broker, which it starts."""
    made = home.json("token", "new", "--name", "sdk", "--scope", "admin")
    text: str = made["token"]
    return text


@pytest.fixture
def url(home: Home, token: str) -> str:
    """Where its WebSocket is, with the demo agent behind it."""
    found: str = home.status()["websocket"]
    return f"{found}/demo"


@pytest.fixture(scope="session")
def node_sdk() -> Path:
    """A directory whose node_modules has the TypeScript SDK; installed once for each version, outside the checkout."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "trio-broker-tests"
    place = cache / "-".join(f"{name.replace('/', '_')}@{version}" for name, version in PINNED.items())
    if not (place / "node_modules" / PACKAGE / "package.json").exists():
        cache.mkdir(parents=True, exist_ok=True)
        _install(place, Path(tempfile.mkdtemp(prefix="installing-", dir=cache)))
    return place


def _install(place: Path, work: Path) -> None:
    """Install in `work` and rename it, so that two runs at once do not meet in a half-made one."""
    (work / "package.json").write_text('{"private": true}\n', encoding="utf-8")
    wanted = [f"{name}@{version}" for name, version in PINNED.items()]
    argv = ["npm", "install", *FLAGS, *wanted]
    done = subprocess.run(argv, cwd=work, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    try:
        work.rename(place)
    except OSError:  # another run was faster
        shutil.rmtree(work)
