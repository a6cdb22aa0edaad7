"""The pager of the person: which one, and what it can do."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
import trio

from trio_broker.cli.permissions import pager
from trio_broker.testing.processes.home import eventually, is_running

pytestmark = pytest.mark.process


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only directory of PATH, empty; $PAGER is not set."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("PAGER", raising=False)
    monkeypatch.delenv("LESS", raising=False)
    return tmp_path


def install(programs: Path, name: str, script: str) -> None:
    program = programs / name
    program.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)


def test_the_pager_is_that_of_the_person_else_less_else_more(
    programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert pager.pager_command() is None
    install(programs, "more", "")
    assert pager.pager_command() == ["more"]
    install(programs, "less", "")
    assert pager.pager_command() == ["less", "-R"]
    install(programs, "mine", "")
    monkeypatch.setenv("PAGER", "mine --plain 'a b'")
    assert pager.pager_command() == ["mine", "--plain", "a b"]
    for none in ("", "absent", "mine 'open"):
        monkeypatch.setenv("PAGER", none)
        assert pager.pager_command() is None


def test_a_pager_starts_no_other_program(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LESSOPEN", "|evil %s")
    monkeypatch.setenv("LESSSECURE", "0")
    monkeypatch.setenv("LESS", "-i")
    env = pager.pager_env()
    assert (env["LESSSECURE"], env["LESS"], "LESSOPEN" in env) == ("1", "-i", False)


@pytest.mark.parametrize("text", ["é\udc80 text\n", "x\n" * 1_000_000])
def test_the_text_goes_in_through_stdin(programs: Path, text: str) -> None:
    install(programs, "less", f'IFS= read -r line; echo "$line" > {programs}/seen; /bin/cat > /dev/null')
    assert pager.show(text)
    assert (programs / "seen").read_text(encoding="utf-8") == text.split("\n")[0].replace(
        "\udc80", "?"
    ) + "\n"
    (programs / "seen").unlink()
    assert trio.run(pager.show_async, text)
    assert (programs / "seen").exists()


def test_a_pager_that_is_left_early_is_not_an_error(programs: Path) -> None:
    install(programs, "less", "exit 3")
    assert pager.show("x\n" * 1_000_000)
    assert trio.run(pager.show_async, "x\n" * 1_000_000)


def test_without_a_pager_nothing_is_shown(programs: Path) -> None:
    assert not pager.show("x")
    assert not trio.run(pager.show_async, "x")


@pytest.mark.parametrize("script", ["exec /bin/sleep 600", "trap '' TERM; while :; do /bin/sleep 1; done"])
async def test_a_cancel_ends_the_pager(programs: Path, script: str) -> None:
    install(programs, "less", f"echo $$ > {programs}/new; /bin/mv {programs}/new {programs}/pid; {script}")
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pager.show_async, "x")
            while not await trio.Path(programs / "pid").exists():  # noqa: ASYNC110  # a file sends no event
                await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
    pid = int(await trio.Path(programs / "pid").read_text(encoding="utf-8"))
    eventually(lambda: not is_running(pid))
