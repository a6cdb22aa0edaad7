"""Single keys of a terminal: early ones are forgotten, and the terminal is as it was at every other time."""

from __future__ import annotations

import os
import pty
import signal
import termios
from collections.abc import Iterator

import pytest
import trio

from trio_broker.cli.permissions.keyboard import GUARD, Keyboard, in_foreground

pytestmark = pytest.mark.process
LIMIT = 30.0  # seconds


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """The person's end of a terminal, and the program's."""
    person, program = pty.openpty()
    yield person, program
    os.close(person)
    os.close(program)


def nothing() -> None:
    pass


async def test_keys_come_one_by_one_without_an_echo_and_settings_come_back(terminal: tuple[int, int]) -> None:
    person, program = terminal
    before = termios.tcgetattr(program)
    with trio.fail_after(LIMIT):
        async with Keyboard.open(program, nothing) as keyboard:
            assert not termios.tcgetattr(program)[3] & (termios.ICANON | termios.ECHO)
            assert termios.tcgetattr(program)[3] & termios.ISIG, "Ctrl-C stays a signal"
            os.write(person, b"y")
            assert await keyboard.read() == b"y"
            async with keyboard.lent():
                assert termios.tcgetattr(program) == before
            assert termios.tcgetattr(program) != before
    assert termios.tcgetattr(program) == before


async def test_settings_come_back_after_an_error_and_after_a_cancel(terminal: tuple[int, int]) -> None:
    _, program = terminal
    before = termios.tcgetattr(program)
    with pytest.RaisesGroup(ZeroDivisionError):
        async with Keyboard.open(program, nothing):
            raise ZeroDivisionError
    assert termios.tcgetattr(program) == before
    with trio.move_on_after(0):
        async with Keyboard.open(program, nothing) as keyboard:
            await keyboard.read()
    assert termios.tcgetattr(program) == before


async def test_keys_from_before_and_soon_after_a_question_are_forgotten(terminal: tuple[int, int]) -> None:
    person, program = terminal
    os.write(person, b"y\ny\n")
    with trio.fail_after(LIMIT):
        async with Keyboard.open(program, nothing) as keyboard, trio.open_nursery() as nursery:
            began = trio.current_time()
            nursery.start_soon(type_soon, person)
            await keyboard.discard_early_keys()
            assert trio.current_time() - began >= GUARD
            os.write(person, b"n")
            assert await keyboard.read() == b"n"


async def type_soon(person: int) -> None:
    await trio.lowlevel.checkpoint()
    os.write(person, b"yyy")


async def test_a_stop_gives_the_terminal_back_and_shows_the_question_after_it(
    terminal: tuple[int, int],
) -> None:
    """The stop itself would stop this test: a child process, which the behaviour test has, shows that part."""
    _, program = terminal
    assert signal.getsignal(signal.SIGTSTP) == signal.SIG_DFL
    async with Keyboard.open(program, nothing):
        assert signal.getsignal(signal.SIGTSTP) != signal.SIG_DFL
    assert signal.getsignal(signal.SIGTSTP) == signal.SIG_DFL


async def test_a_terminal_that_is_gone_has_no_more_keys() -> None:
    person, program = pty.openpty()
    with trio.fail_after(LIMIT):
        async with Keyboard.open(program, nothing) as keyboard:
            os.close(person)
            assert await keyboard.read() == b""
            keyboard.discard()
    os.close(program)


def test_what_is_not_the_own_terminal_needs_no_foreground(terminal: tuple[int, int]) -> None:
    assert in_foreground(terminal[1])
