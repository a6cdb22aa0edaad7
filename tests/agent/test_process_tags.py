"""Marked processes: found wherever they went, and never mistaken for another's (DESIGN D12)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from trio_broker.agent import process_tags
from trio_broker.agent.process_tags import TaggedProcess
from trio_broker.testing.processes.home import LIMIT, eventually, is_running

NOBODY = 65534
SLEEP = ("sleep", "600")
PYTHON = (sys.executable, "-S", "-E", "-c")

# Heeds no SIGTERM, and has a grandchild which has left its group, by setsid, and its parent, by a double fork.
FAMILY = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if not os.fork():
    os.setsid()
    if os.fork():
        os._exit(0)
time.sleep(600)
"""
# Never the same process for long: each forks the next one and goes.
RUNNER = """
import os, time
while not os.fork():
    time.sleep(0.005)
"""
# Always about to become another program.
EXECUTOR = 'exec sh -c "$0" "$0"'


class Marked:
    """Processes that carry one broker's mark."""

    def __init__(self, runtime: str) -> None:
        self.instance = process_tags.new_instance_tag(runtime)

    def mine(self, tagged: TaggedProcess) -> bool:
        return tagged.instance == self.instance

    def env(self, session: str = "s") -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            process_tags.INSTANCE: self.instance,
            process_tags.SESSION: session,
        }

    @contextmanager
    def run(
        self, *argv: str, session: str = "s", user: int | None = None
    ) -> Iterator[subprocess.Popen[bytes]]:
        with subprocess.Popen(argv, env=self.env(session), user=user, start_new_session=True) as process:
            try:
                yield process
            finally:
                process.kill()

    def find(self) -> list[TaggedProcess]:
        return process_tags.find(self.mine)

    def strays(self) -> list[int]:
        """Those whose session's leader has gone."""
        pids = [tagged.pid for tagged in self.find()]
        return [pid for pid in pids if os.getsid(pid) not in pids]


@pytest.fixture
def marked(tmp_path: Path) -> Iterator[Marked]:
    marked = Marked(str(tmp_path))
    yield marked
    process_tags.end_all(marked.mine, LIMIT)


def test_brokers_of_one_runtime_directory_share_a_home_and_no_mark(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "link").symlink_to("run")
    one, two = (process_tags.new_instance_tag(str(tmp_path / name)) for name in ("run", "link"))
    assert one != two and process_tags.runtime_of(one) == process_tags.runtime_of(
        two
    ) == process_tags.runtime_tag(str(tmp_path / "run"))
    assert process_tags.runtime_of(one) != process_tags.runtime_of(
        process_tags.new_instance_tag(str(tmp_path))
    )


def test_a_tagged_process_is_reported_as_it_is(marked: Marked) -> None:
    with marked.run(*SLEEP, session="a") as process:
        (tagged,) = marked.find()
        assert (tagged.pid, tagged.session, tagged.command) == (process.pid, "a", "sleep 600")
        assert tagged.start_time > 0 and tagged in marked.find()


def test_f2_a_grandchild_that_left_group_and_parent_is_found_and_ended(marked: Marked) -> None:
    with marked.run(*PYTHON, FAMILY) as parent:
        eventually(marked.strays)
        pids = [tagged.pid for tagged in marked.find()]
        assert len(pids) == 2 and process_tags.end_all(marked.mine, LIMIT) == 2
        assert not any(is_running(pid) for pid in pids) and marked.find() == []
        assert parent.wait() == -signal.SIGKILL


def test_f2_one_that_forks_on_and_on_is_caught(marked: Marked) -> None:
    with marked.run(*PYTHON, RUNNER) as first:
        first.wait()
        eventually(lambda: process_tags.end_all(marked.mine, 1) and not marked.find())


def test_f2_one_that_executes_programs_all_the_time_is_not_overlooked(marked: Marked) -> None:
    """In an execve a process has no environment for a moment."""
    with marked.run("sh", "-c", EXECUTOR, EXECUTOR) as one, marked.run("sh", "-c", EXECUTOR, EXECUTOR) as two:
        for _ in range(100):
            assert {tagged.pid for tagged in marked.find()} == {one.pid, two.pid}


def test_only_what_matches_is_ended(marked: Marked) -> None:
    with marked.run(*SLEEP, session="a") as ended, marked.run(*SLEEP, session="b") as spared:
        assert process_tags.end_all(lambda tagged: marked.mine(tagged) and tagged.session == "a", LIMIT) == 1
        assert ended.wait() == -signal.SIGKILL and spared.poll() is None


WRONG: dict[str, Callable[[TaggedProcess], TaggedProcess]] = {
    "start time": lambda tagged: tagged._replace(start_time=tagged.start_time - 1),
    "instance": lambda tagged: tagged._replace(instance=f"{tagged.instance}0"),
    "session": lambda tagged: tagged._replace(session="another"),
}


@pytest.mark.parametrize("what", WRONG)
def test_f5_a_process_that_has_only_the_number_of_a_tagged_process_is_not_touched(
    marked: Marked, what: str
) -> None:
    with marked.run(*SLEEP) as process:
        (tagged,) = marked.find()
        assert not process_tags.end(WRONG[what](tagged)) and spared(process)
        assert process_tags.end(tagged) and process.wait() == -signal.SIGKILL


def test_f5_an_unmarked_process_is_neither_found_nor_touched(marked: Marked) -> None:
    with marked.run(*SLEEP) as tagged_process, subprocess.Popen(SLEEP, env={}) as process:
        try:
            (tagged,) = marked.find()
            assert tagged.pid == tagged_process.pid
            started = start_time_of(process.pid)
            assert not process_tags.end(tagged._replace(pid=process.pid, start_time=started)) and spared(
                process
            )
            assert process.pid not in [found.pid for found in process_tags.find(lambda _: True)]
        finally:
            process.kill()


def test_f5_a_process_that_is_gone_or_not_reaped_is_no_kin(marked: Marked) -> None:
    with marked.run(*SLEEP) as process:
        (tagged,) = marked.find()
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert marked.find() == [] and not process_tags.end(tagged)
        process.wait()
        assert not process_tags.end(tagged)


def test_f5_a_process_that_changed_its_command_is_still_the_same(marked: Marked) -> None:
    with marked.run("sh", "-c", "read go; exec sleep 600") as process:
        (tagged,) = marked.find()
        assert (
            process_tags.end(tagged._replace(command="what it was called before"))
            and process.wait() == -signal.SIGKILL
        )


def test_a_broker_that_an_agent_started_does_not_sweep_itself(marked: Marked) -> None:
    sweep = (
        "from trio_broker.agent.process_tags import end_all; "
        "end_all(lambda tagged: tagged.instance == {!r}, 0); print('lives')"
    )
    done = subprocess.run(
        [sys.executable, "-c", sweep.format(marked.instance)],
        env=marked.env(),
        cwd=Path(process_tags.__file__).parents[2],
        stdout=subprocess.PIPE,
        timeout=LIMIT,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, b"lives\n")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can run a process as another user")
def test_another_users_process_is_no_kin(marked: Marked) -> None:
    with marked.run(*SLEEP, user=NOBODY) as process:
        assert marked.find() == []
        tagged = TaggedProcess(process.pid, start_time_of(process.pid), marked.instance, "s", "sleep 600")
        assert not process_tags.end(tagged) and spared(process)


def test_the_processes_above_one_are_found_up_to_the_first(marked: Marked) -> None:
    with marked.run("sh", "-c", "sleep 600 & wait") as shell:
        eventually(lambda: len(marked.find()) == 2)
        (child,) = (tagged for tagged in marked.find() if tagged.pid != shell.pid)
        chain = process_tags.ancestors(child.pid)
        assert chain is not None
        assert [process.pid for process in chain[:3]] == [child.pid, shell.pid, os.getpid()]
        assert chain[0].start_time == child.start_time
        assert chain[2:] == process_tags.ancestors(os.getpid())


def test_a_process_that_has_ended_has_no_ancestors_and_no_tags(marked: Marked) -> None:
    with marked.run("true") as process:
        process.wait()
        assert process_tags.ancestors(process.pid) is None
        assert process_tags.tags_of(process.pid) == ("", "", "")


def test_a_parent_that_dies_during_the_walk_does_not_cut_it_short(
    marked: Marked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its child goes to another parent then, which may be the broker."""
    read = process_tags._stat
    with marked.run("sh", "-c", "sleep 600 & wait") as shell:
        eventually(lambda: len(marked.find()) == 2)
        (child,) = (tagged.pid for tagged in marked.find() if tagged.pid != shell.pid)

        def read_and_kill_parent(pid: int) -> list[bytes]:
            fields = read(pid)
            if pid == child and shell.poll() is None:
                shell.kill()
                shell.wait()
            return fields

        monkeypatch.setattr(process_tags, "_stat", read_and_kill_parent)
        chain = process_tags.ancestors(child)
        assert chain and chain[0].pid == child and shell.pid not in [process.pid for process in chain]
        assert parent_of(chain[-1].pid) == 0, "it ends where all do"


def test_an_endless_line_of_parents_is_given_up(marked: Marked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_tags, "MAX_ANCESTORS", 1)
    with marked.run(*SLEEP) as process:
        assert process_tags.ancestors(process.pid) is None


def test_the_tags_are_those_of_the_environment(marked: Marked) -> None:
    with marked.run(*SLEEP, session="a") as process:
        assert process_tags.tags_of(process.pid) == (marked.instance, "a", "")
    with subprocess.Popen(SLEEP, env={process_tags.HOOK: "7"}) as process:
        assert process_tags.tags_of(process.pid) == ("", "", "7")
        process.kill()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be somebody else")
def test_of_another_users_process_the_parents_are_known_and_no_tags(marked: Marked) -> None:
    with marked.run(*SLEEP) as process:
        chain = process_tags.ancestors(process.pid)
        os.seteuid(NOBODY)
        try:
            as_nobody = process_tags.ancestors(process.pid), process_tags.tags_of(process.pid)
        finally:
            os.seteuid(0)
        assert chain and as_nobody == (chain, ("", "", ""))


def test_where_no_process_can_be_seen_there_are_no_ancestors(
    marked: Marked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No /proc, or one that hides the processes of others: those that live are told from those that have ended."""

    def hidden(pid: int, name: str) -> bytes:
        raise FileNotFoundError(pid, name)

    with marked.run("true") as ended, marked.run(*SLEEP) as process:
        ended.wait()
        monkeypatch.setattr(process_tags, "_read", hidden)
        assert process_tags.ancestors(process.pid) == [] and process_tags.ancestors(ended.pid) is None
        assert process_tags.tags_of(process.pid) == ("", "", "")


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[1])


def spared(process: subprocess.Popen[bytes]) -> bool:
    """Whether it lives, and no signal is on its way to it."""
    status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
    pending = [
        int(line.split()[1], 16) for line in status.splitlines() if line.startswith(("SigPnd", "ShdPnd"))
    ]
    return pending == [0, 0] and is_running(process.pid)


def start_time_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[19])
