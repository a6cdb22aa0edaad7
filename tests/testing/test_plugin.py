"""The pytest plugin in a project of somebody else: tests/example, run by a pytest of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from trio_broker.testing.processes.home import eventually, is_running

EXAMPLE = Path(__file__).parent.parent / "example"
LIMIT = 120


def run(*words: str, cwd: Path = EXAMPLE) -> subprocess.CompletedProcess[str]:
    """A pytest in that project, which knows nothing of ours."""
    return subprocess.run(
        [*pytest_in(cwd), *words],
        cwd=cwd,
        env=plain_env(),
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )


def pytest_in(project: Path) -> list[str]:
    return [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", str(project)]


def plain_env() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}


def test_the_examples_pass() -> None:
    done = run("-q")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "10 passed" in done.stdout


def test_failing_examples_say_why() -> None:
    told = run("-q", "failing.py").stdout
    for words in (
        '!! << {"id": 1, "result": {"sessions": [{"key": "mine"}]}}',
        "!!    result.sessions is [], not ",
        "play 1 of test_no_answer: step 1 of 1: nothing came for 7 s",
        "the test has not ended within 7 virtual days",
        "session 'mine' is waiting for an answer to 'edit it': have a client with `on_request=allow`",
        "play 1 of test_a_play_that_nobody_acted_out: step 1 of 2: the play was left unfinished here",
        "still here: ['me']",
        "sweep: cancelled at step 1",
        "`broker` lives in virtual time and `daemon` in the real one: a test uses one of them",
        "the fixture `broker` is for async tests that Trio runs: mark this one `@pytest.mark.trio`",
    ):
        assert words in told, f"no {words!r} in {told}"
    assert "4 failed, 1 passed, 3 errors" in told.splitlines()[-1], told


def test_where_pytest_trio_is_missing_the_fixtures_say_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "def test_it(broker): pass\ndef test_plain(): pass\n", encoding="utf-8"
    )
    done = run("-q", "-p", "no:trio", cwd=tmp_path)
    assert "the fixture `broker` needs pytest-trio: pip install pytest-trio" in done.stdout
    assert "1 passed, 1 error" in done.stdout


def test_nothing_heavy_is_imported_before_a_fixture_is_used(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "import sys\n"
        "def test_it():\n"
        "    ours = {name for name in sys.modules if name.startswith('trio_broker')}\n"
        "    assert ours == {'trio_broker', 'trio_broker.testing', 'trio_broker.testing.plugin'}\n"
        "    assert not {'trio', 'attrs', 'msgspec', 'cattrs'} & sys.modules.keys()\n",
        encoding="utf-8",
    )
    no_others = ["-p", "no:trio", "-p", "no:hypothesispytest", "-p", "no:_hypothesis_pytestplugin"]
    done = run("-q", *no_others, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


FAILS = """
from trio_broker.testing import request

def test_it(play):
    play().feed(request(1, "initialize"))
    assert False, "for a reason of its own"

def test_another(play):
    play().feed(request(1, "initialize"))
"""


def test_a_test_that_failed_is_not_blamed_for_its_unfinished_play_too(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(FAILS, encoding="utf-8")
    told = run("-q", cwd=tmp_path).stdout
    assert told.splitlines()[-1].startswith("1 failed, 1 passed, 1 error"), told
    assert "play 1 of test_another: step 1 of 1: the play was left unfinished here" in told


BUSY = """
import json, os, sys, time
from pathlib import Path

def test_it(daemon):
    assert daemon.run("prompt", "-s", "k", "--no-wait", "setsid-child; hang").returncode == 0
    daemon.until("k", "working")
    status = daemon.status()
    guardian = Path(f"/proc/{status['pid']}/task/{status['pid']}/children").read_text().split()
    pids = [status["pid"], status["sessions"][0]["pid"], *map(int, guardian)]
    Path("told.new").write_text(json.dumps({"home": str(daemon.path), "pids": pids}))
    os.rename("told.new", "told")
    time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_killed_leaves_no_daemon(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "test_it.py").write_text(BUSY, encoding="utf-8")
    told = tmp_path / "told"
    with subprocess.Popen(
        pytest_in(tmp_path), cwd=tmp_path, env=plain_env(), stdout=subprocess.DEVNULL, start_new_session=True
    ) as process:
        try:
            eventually(lambda: told.exists() or process.poll() is not None)
            left = json.loads(told.read_text(encoding="utf-8"))
            assert all(map(is_running, left["pids"]))
        finally:
            os.killpg(process.pid, number)
    try:
        eventually(lambda: not any(map(is_running, left["pids"])))
        eventually(lambda: not Path(left["home"]).exists())
    finally:
        for pid in filter(is_running, left["pids"]):
            os.kill(pid, signal.SIGKILL)
