"""Whole processes, beside acpx, and the benches beside this one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.bench.daemon import Daemon
from tests.bench.table import Bench, Series
from tests.bench.tools import Failed

ROOT = Path(__file__).parent.parent.parent


def cli(bench: Bench) -> None:
    """Whole processes, from start to exit, as a shell sees them; acpx beside them, each in a home of its own."""
    took, program = (
        Series(),
        shutil.which("trio-broker", path=str(Path(sys.executable).parent)) or "trio-broker",
    )
    with Daemon(bench.tools.agent) as daemon, tempfile.TemporaryDirectory(prefix="tbb") as home:
        env = os.environ | {"HOME": home}
        commands: dict[str, tuple[list[str], dict[str, str]]] = {
            "python with click": ([sys.executable, "-c", "import click"], daemon.env),
            "--version": ([program, "--version"], daemon.env),
            "status": ([program, "status"], daemon.env),
            "prompt": ([program, "prompt", "hi"], daemon.env),
            "exec": ([program, "exec", "hi"], daemon.env),
        }
        if bench.peers.acpx:
            its = [*bench.peers.acpx, "--agent", str(bench.tools.agent), "--cwd", home]
            _run([*its, "sessions", "new"], env, home)
            for words in (["--version"], ["status"], ["prompt", "hi"], ["exec", "hi"]):
                commands[f"acpx {words[0]}"] = ([*its, *words], env)
        for number in range(1 + bench.size(3 * bench.rounds, 2)):
            for name, (argv, environment) in commands.items():
                spent = _run(argv, environment, home)
                if number:  # the first one starts sessions, and fills caches
                    took.note(name, spent)
        if bench.peers.acpx:
            _run([*its, "sessions", "close"], env, home)
    bench.facts["cli_seconds"] = took.values
    base = took["python with click"]
    limits = {
        "--version": (1.5, "python with click"),
        "status": (0.5, "acpx status"),
        "prompt": (0.2, "acpx prompt"),
    }
    for name in ("--version", "status", "prompt", "exec"):
        wanted, other = limits.get(name, (None, f"acpx {name}"))
        beside = took[other] if other in took.values else None
        ratio = took[name] / beside if beside else None
        shown = f"{took[name] * 1000:.0f} ms" + (f" ({other}: {beside * 1000:.0f} ms)" if beside else "")
        target = f"≤ {wanted} x {other}" if wanted else ""
        met = ratio <= wanted if ratio is not None and wanted else None
        label = f"whole process: {name}" + (" (warm)" if name == "prompt" else "")
        bench.add(label, target, shown, f"{ratio:.2f} x" if ratio else "", met)
    bench.facts["cli_base_seconds"] = base


def _run(argv: list[str], env: dict[str, str], cwd: str) -> float:
    begun = time.perf_counter()
    done = subprocess.run(
        argv,
        env=env,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode:
        raise Failed(f"{' '.join(argv)}: exit code {done.returncode}: {done.stderr[-500:]}")
    return time.perf_counter() - begun


def others(bench: Bench) -> None:
    """The benches beside this one, each a program of its own: how the CLI starts, and what the dashboard costs."""
    for name, words in (("cold", []), ("dashboard", ["--seconds", "10"])):
        if bench.short or not (Path(__file__).parent / f"{name}.py").exists():
            continue
        argv = [sys.executable, "-m", f"tests.bench.{name}", *words]
        done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=180, check=False)
        if done.returncode:
            raise Failed(f"{' '.join(argv)}: exit code {done.returncode}: {done.stderr[-500:]}")
        bench.facts[name] = done.stdout
        if name == "dashboard":
            found = json.loads(done.stdout.splitlines()[-1])
            share, sessions = found["dashboard"], found["sessions"]
            shown = f"{share} % of a core (broker {found['broker_watched']} %)"
            bench.add(f"dashboard, {sessions} busy sessions", "", shown)
