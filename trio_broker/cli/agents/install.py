"""Puts a package of one version into a folder of the broker's own, with npm or pip, and finds its program there."""

from __future__ import annotations

import configparser
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import trio

from trio_broker.agent.installed import InstalledAgent, InstalledAgents, Package
from trio_broker.cli.output import Progress, progress
from trio_broker.errors import BrokerError, Misuse

TAIL_LINES = 20  # lines of an installer that failed, as it said them


class InstallFailed(BrokerError):
    code = "install_failed"


async def install(name: str, package: Package, installed: InstalledAgents) -> InstalledAgent:
    """Install it under this name, in place of what was there. Raises InstallFailed; then nothing has changed."""
    folder = installed.new_folder(name)
    done = False
    try:
        async with progress(f"install {name}") as progress_line:
            found = await (_npm if package.registry == "npm" else _pypi)(package, folder, progress_line)
        record = InstalledAgent(
            name=name,
            registry=package.registry,
            package=found.package,
            version=found.version,
            program=str(found.program(package.program, name)),
            args=package.args,
            folder=str(folder),
            installed_at=time.time(),
        )
        installed.save(record)
        done = True
    finally:
        if not done:
            shutil.rmtree(folder, ignore_errors=True)
    return record


@attrs.frozen
class _InstalledPackage:
    package: str
    version: str
    programs: dict[str, Path]

    def program(self, requested: str | None, name: str) -> Path:
        if requested in self.programs:
            return self.programs[requested]
        if requested is None and len(self.programs) == 1:
            return next(iter(self.programs.values()))
        if requested is None and name in self.programs:
            return self.programs[name]
        names = ", ".join(sorted(self.programs)) or "none"
        raise Misuse(f"the programs of {self.package} {self.version} are: {names}; choose with --program")


async def _npm(package: Package, folder: Path, progress_line: Progress) -> _InstalledPackage:
    if shutil.which("npm") is None:
        raise Misuse("npm is not in PATH; install Node.js, which brings it, then try again")
    flags = ["--no-audit", "--no-fund", "--no-progress", "--loglevel=http", "--save-exact"]
    await _run(["npm", "install", "--prefix", str(folder), *flags, package.spec], progress_line)
    name = next(iter(_read_json(folder / "package.json").get("dependencies", {})), package.name)
    manifest = _read_json(folder / "node_modules" / name / "package.json")
    bins = manifest.get("bin", {})
    names = [name.rpartition("/")[2]] if isinstance(bins, str) else list(bins)
    bin_folder = folder / "node_modules" / ".bin"
    return _InstalledPackage(name, str(manifest["version"]), {one: bin_folder / one for one in names})


async def _pypi(package: Package, folder: Path, progress_line: Progress) -> _InstalledPackage:
    await _run([sys.executable, "-m", "venv", str(folder)], progress_line)
    report = folder / "report.json"
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--no-input", "--report", str(report)]
    await _run([*pip, package.spec], progress_line)
    metadata = next(one for one in _read_json(report)["install"] if one.get("requested"))["metadata"]
    return _InstalledPackage(
        metadata["name"], metadata["version"], _scripts(folder, metadata["name"], metadata["version"])
    )


def _scripts(folder: Path, name: str, version: str) -> dict[str, Path]:
    for entries in folder.glob(f"lib/python*/site-packages/*-{version}.dist-info/entry_points.txt"):
        if _same_project(entries.parent.name.partition("-")[0], name):
            parser = configparser.ConfigParser(delimiters=("=",), interpolation=None)
            parser.optionxform = str  # type: ignore[assignment,method-assign]  # programs have capitals
            parser.read(entries, encoding="utf-8")
            names = parser["console_scripts"] if parser.has_section("console_scripts") else {}
            return {one: folder / "bin" / one for one in names}
    return {}


def _same_project(one: str, other: str) -> bool:
    return one.replace("-", "_").lower() == other.replace("-", "_").replace(".", "_").lower()


def _read_json(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


async def _run(argv: list[str], progress_line: Progress) -> None:
    """Run an installer, showing what it says last. Cancelling this kills it."""
    output: list[str] = []
    async with trio.open_nursery() as nursery:
        start = partial(
            trio.run_process,
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            start_new_session=True,
            deliver_cancel=_kill,
        )
        process = await nursery.start(start)
        rest = b""
        async for data in process.stdout:
            *lines, rest = (rest + data).replace(b"\r", b"\n").split(b"\n")
            output += [text for line in lines if (text := line.decode("utf-8", "replace").strip())]
            progress_line.last = output[-1] if output else ""
            del output[:-TAIL_LINES]
    if process.returncode:
        words = "\n".join(output)
        raise InstallFailed(
            f"{os.path.basename(argv[0])} failed with exit code {process.returncode}; its last words:\n{words}\n"
            "Nothing was changed; mend what it says, then try again."
        )


async def _kill(process: trio.Process) -> None:  # noqa: ASYNC124  # a deliver_cancel
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # it has just ended
