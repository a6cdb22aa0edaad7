"""The rule of tests/conftest.py about the clock on the wall finds each test that breaks it, and no other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CONFTEST = Path(__file__).with_name("conftest.py")
TESTS = """
import importlib, os, threading, time
import pytest, trio

def start(): importlib.import_module("subprocess").run(["true"])  # else its name marks the module
async def look():
    for _ in range(60): await trio.sleep(0.01)

def test_sleeps(): time.sleep(0.001)
def test_sleeps_in_a_thread():
    thread = threading.Thread(target=time.sleep, args=(0.001,))
    thread.start(); thread.join()
def test_starts_a_program(): start()
def test_forks():
    if not (pid := os.fork()): os._exit(0)
    os.waitpid(pid, 0)
async def test_waits_once(): await trio.sleep(0.06)
async def test_waits_often(): await look()
async def test_waits_until_a_deadline():
    with trio.move_on_after(0.06): await trio.sleep_forever()
async def test_sleeps_elsewhere(): await trio.to_thread.run_sync(time.sleep, 0.001)
def test_waits_in_a_run_of_its_own(): trio.run(trio.sleep, 0.06)
def test_waits_in_a_run_in_a_thread():
    thread = threading.Thread(target=trio.run, args=(trio.sleep, 0.06))
    thread.start(); thread.join()

async def test_fine_in_virtual_time(autojump_clock): await trio.sleep(3600)
async def test_fine_with_a_deadline():
    with trio.fail_after(60):
        for _ in range(5): await trio.sleep(0.001)
async def test_fine_with_a_thread(): await trio.to_thread.run_sync(sum, range(3_000_000))
async def test_fine_while_a_thread_works():  # as for a disk that takes its time
    done = trio.Event()
    async def work():
        await trio.to_thread.run_sync(threading.Event().wait, 0.8)
        done.set()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(work)
        while not done.is_set(): await trio.sleep(0.01)
@pytest.mark.process
async def test_fine_when_marked():
    time.sleep(0.001); start(); await trio.sleep(0.06)
def test_fine_after_all_of_that(): trio.run(trio.lowlevel.checkpoint)
"""


def test_who_waits_on_the_clock_on_the_wall_is_found(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_bytes(CONFTEST.read_bytes())
    (tmp_path / "test_planted.py").write_text(TESTS, encoding="utf-8")
    options = ["-p", "no:cacheprovider", "-o", "trio_mode=true", "-o", "markers=process", "-rA", "-q"]
    argv = [sys.executable, "-m", "pytest", "--rootdir", str(tmp_path), *options, str(tmp_path)]
    told = subprocess.run(argv, capture_output=True, text=True, cwd=tmp_path, timeout=120, check=False).stdout
    names = [line.partition("(")[0].split()[-1] for line in TESTS.splitlines() if "def test_" in line]
    for name in names:
        verdict = "PASSED" if name.startswith("test_fine") else "FAILED"
        assert f"{verdict} test_planted.py::{name}" in told, told
    for words in (
        "time.sleep(0.001) at",
        "test_planted.py:",
        "a program was started",
        "0.06 s for a deadline",
    ):
        assert words in told, told
