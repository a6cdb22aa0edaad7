"""What holds for every test.

Tests that start no program do not wait on the clock on the wall: in the virtual time of `autojump_clock` an hour takes
a moment, so all of them together are a matter of seconds, and none depends on what else the machine does. This is held
here. A test without a mark of EXEMPT, which is one that `just fast` runs, fails when it

* sleeps (`time.sleep`, in any thread), or starts a program,
* lets a deadline of Trio's real clock pass with nothing else to do: one of more than WAIT seconds, or many that are
  TOTAL seconds together. Shorter ones are looks at what a thread or a socket is about to bring. While a thread of
  Trio's works, which may be held up by a disk, none counts.

A deadline that does not pass, as that of `fail_after`, is no wait. What a test waits for in other ways (a lock or an
event of `threading`, a socket with a timeout) is not seen here.
"""

from __future__ import annotations

import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import attrs
import hypothesis
import pytest
import trio
from trio._core._run import SystemClock  # not public, nor is the next:
from trio._core._thread_cache import ThreadCache  # the test of this file fails when it is another one

from trio_broker.testing.processes.home import Home

# A deadline per example would make tests depend on what else the machine does.
hypothesis.settings.register_profile("house", hypothesis.settings(), deadline=None)
hypothesis.settings.load_profile("house")
# A state machine with a planted fault: the first that is found will do; the same search each time.
hypothesis.settings.register_profile(
    "search",
    max_examples=1000,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[hypothesis.Phase.generate],
    report_multiple_bugs=False,
)

HERE = Path(__file__).parent
WAIT, TOTAL = 0.05, 0.5
EXEMPT = ("process", "slow", "node")

# Who has one of these starts programs, and waits for them on the clock on the wall.
STARTERS = {
    *(
        "AgentProcess",
        "Home",
        "Program",
        "Terminal",
        "home_with",
        "open_real",
        "open_scripted_agent",
        "serving",
    ),
    *("TRIO_BROKER", "multiprocessing", "subprocess"),
}
STARTS = {"os.fork", "os.forkpty", "os.posix_spawn", "os.system", "subprocess.Popen"}  # Python's audit events


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of real processes are marked `process` by what their module imports: `just fast` leaves them out.

    Others that start one say so themselves. Tests marked `node` are skipped where there is no Node; `.ci/run` insists
    on having one.
    """
    for item in items:
        if isinstance(item, pytest.Function) and not STARTERS.isdisjoint(vars(item.module)):
            item.add_marker("process")
    missing = [program for program in ("node", "npm") if shutil.which(program) is None]
    if missing:
        skip = pytest.mark.skip(reason=f"needs {' and '.join(missing)} in PATH")
        for item in items:
            if item.get_closest_marker("node"):
                item.add_marker(skip)


@attrs.define
class Watch:
    """What the test that runs has done and may not do; `on` while there is a test that may not."""

    on: bool = False
    wrong: list[str] = attrs.field(factory=list)
    waited: float = 0.0

    def begin(self, on: bool) -> None:
        self.on, self.wrong, self.waited = on, [], 0.0

    def end(self) -> list[str]:
        """What was wrong."""
        self.on = False
        many = [f"{self.waited:.1f} s for deadlines of the real clock"] if self.waited > TOTAL else []
        return self.wrong + many

    def audit(self, event: str, args: tuple[object, ...]) -> None:
        if self.on and event in STARTS:
            self.wrong.append(f"a program was started {_place()}")

    def sleep(self, seconds: float, really: Callable[[float], None] = time.sleep) -> None:
        if self.on and seconds:
            self.wrong.append(f"time.sleep({seconds}) {_place()}")
        really(seconds)

    def overslept(self, seconds: float) -> None:
        self.waited += seconds
        if seconds > WAIT:
            self.wrong.append(f"{seconds:.2f} s for a deadline of the real clock")


def _place() -> str:
    """The innermost line of this project."""
    ours = [
        one
        for one in traceback.extract_stack()
        if one.filename != __file__ and "/lib/python" not in one.filename
    ]
    return f"at {ours[-1].filename}:{ours[-1].lineno}" if ours else "somewhere"


class Waits(trio.abc.Instrument):
    """Tells of each time that a run had nothing to do until a deadline passed."""

    since = 0.0
    alone = True

    def before_io_wait(self, timeout: float) -> None:
        self.since, self.alone = time.perf_counter(), not WORKING

    def after_io_wait(self, timeout: float) -> None:
        if self.alone and 0 < timeout <= time.perf_counter() - self.since:
            WATCH.overslept(timeout)


def _start_clock(_: SystemClock) -> None:
    """Trio calls this at the start of each run that has the real clock, in whatever way a test came to it."""
    if WATCH.on:
        trio.lowlevel.add_instrument(Waits())


def _start_thread(
    cache: ThreadCache,
    work: Callable[[], Any],
    deliver: Callable[[Any], object],
    name: str | None = None,
    really: Callable[..., None] = ThreadCache.start_thread_soon,
) -> None:
    """Trio calls this for whatever it has a thread do."""
    thread = object()

    def delivered(outcome: Any) -> None:
        WORKING.discard(thread)
        deliver(outcome)

    WORKING.add(thread)
    really(cache, work, delivered, name)


# In the background of a shell, or under nohup: what tests start would inherit that these are ignored.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
WATCH = Watch()
WORKING = set[object]()  # Trio's threads that do something
sys.addaudithook(WATCH.audit)
setattr(time, "sleep", WATCH.sleep)  # noqa: B010  # mypy has no word for replacing what is another's
setattr(SystemClock, "start_clock", _start_clock)  # noqa: B010  # as above; the one there does nothing
setattr(ThreadCache, "start_thread_soon", _start_thread)  # noqa: B010  # as above


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    WATCH.begin(not any(map(item.get_closest_marker, EXEMPT)))
    try:
        yield
    finally:
        wrong = WATCH.end()
    if wrong:
        pytest.fail(
            "this test waits on the clock on the wall, and is not marked `process`:\n  "
            + "\n  ".join(wrong[:5])
            + "\nGive it the fixture `autojump_clock`, a shorter period, or the mark.",
            pytrace=False,
        )


@pytest.fixture(scope="module")
def shared() -> Iterator[Home]:
    """One daemon for the module: tests keep apart by directory, or by key."""
    with Home() as home:
        assert home.run("up").returncode == 0  # any of its tests may be the first
        yield home


@pytest.fixture
def home() -> Iterator[Home]:
    """A home in which nothing runs yet."""
    with Home() as home:
        yield home
