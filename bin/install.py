"""Makes .venv and installs the project there. Run by bin/venv.sh when something changed.

TRIO_BROKER_VENV names another directory of the checkout, for the tests on another Python (bin/test-on).

Standard library only. Two first uses at once are safe: one installs, the other waits for it. The lock is the
kernel's, so a killed installation leaves none behind; its stamp is not written, so the next use begins again.
stdin and stdout are left alone, because `trio-broker acp` speaks a protocol on them.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / os.environ.get("TRIO_BROKER_VENV", ".venv")
PYTHON = VENV / "bin" / "python"
CONSTRAINTS = "tests/constraints.txt"
TARGETS = {"run": ".", "dev": ".[dev]"}
STAMPS = {"run": ("run",), "dev": ("dev", "run")}


class Failed(Exception):
    """A step went wrong; says what, what the tool printed, and what to do."""


def main(kind: str, stamp: str) -> int:
    try:
        with one_at_a_time():
            if read_stamp(kind) != stamp:  # else another one did it while we waited
                install(kind, stamp)
    except (Failed, OSError) as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        say("interrupted; the next use begins again")
        return 130
    return 0


def install(kind: str, stamp: str) -> None:
    for name in TARGETS:
        stamp_file(name).unlink(missing_ok=True) if name in STAMPS[kind] else None
    if usable(stamp):
        say(f"something it needs has changed: installing anew into {VENV.name}")
    else:
        say(f"first use: making {VENV.name} and installing into it (once, half a minute or so)")
        make_venv()
    pip_install(TARGETS[kind])
    for name in STAMPS[kind]:
        stamp_file(name).write_text(stamp + "\n", encoding="utf-8")


def usable(stamp: str) -> bool:
    """Whether there is a venv that works, and that was not made at another place and moved here."""
    here = stamp.splitlines()[0]
    places = {read_stamp(kind).partition("\n")[0] for kind in TARGETS} - {""}
    return places <= {here} and quiet([str(PYTHON), "-m", "pip", "--version"]).returncode == 0


def make_venv() -> None:
    """Makes it anew, on the versioned interpreter: after an upgrade to 3.N+1 it is seen to be gone."""
    base = os.path.realpath(sys.executable)
    done = quiet([base, "-c", "import venv, ensurepip"])
    if done.returncode:
        raise Failed(
            f"{base} has no venv or ensurepip, which Debian and Ubuntu keep in a package of their own: "
            "`apt install python3-venv`, then try again"
        )
    shutil.rmtree(VENV, ignore_errors=True)
    done = quiet([base, "-m", "venv", str(VENV)])
    if done.returncode:
        raise Failed(f"{output(done)}\n{base} -m venv {VENV} failed: see above")


def pip_install(target: str) -> None:
    """Everything pinned by constraints, what builds the project too (old and new pip have two names for that)."""
    settings = {
        "PIP_USER": "0",
        "PIP_CONSTRAINT": CONSTRAINTS,
        "PIP_BUILD_CONSTRAINT": CONSTRAINTS,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    argv = [str(PYTHON), "-m", "pip", "install", "--quiet", "--no-input", "-c", CONSTRAINTS, "-e", target]
    done = quiet(argv, os.environ | settings)
    if done.returncode:
        raise Failed(
            f"{output(done)}\npip could not install trio-broker's packages: see above; is there a network?"
        )


def quiet(argv: list[str], env: dict[str, str] | None = None) -> subprocess.CompletedProcess[bytes]:
    """Runs it in the checkout, its output kept; an interpreter that is not there is a failure like others."""
    pipe, none = subprocess.PIPE, subprocess.DEVNULL
    try:
        return subprocess.run(
            argv, cwd=ROOT, env=env, stdin=none, stdout=pipe, stderr=subprocess.STDOUT, check=False
        )
    except OSError as error:
        return subprocess.CompletedProcess(argv, 127, str(error).encode())


def output(done: subprocess.CompletedProcess[bytes]) -> str:
    return done.stdout.decode(errors="replace").strip()


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    with open(__file__, "rb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another first use, which is installing")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def stamp_file(kind: str) -> Path:
    return VENV / f"stamp-{kind}"


def read_stamp(kind: str) -> str:
    try:
        return stamp_file(kind).read_text(encoding="utf-8").rstrip("\n")
    except FileNotFoundError:
        return ""


def say(text: str) -> None:
    print(f"trio-broker: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
