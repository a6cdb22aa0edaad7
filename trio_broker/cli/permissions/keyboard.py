"""Single keys of the terminal, while a question is open; the terminal is as it was before at every other time.

`Keyboard.open` takes the terminal over when this process is in its foreground. Ctrl-C and Ctrl-Z stay signals. A stop
(Ctrl-Z), a signal that ends the process, a pager and an error all get the settings that the terminal had before.
"""

from __future__ import annotations

import os
import signal
import termios
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import attrs
import trio

GUARD = 0.5  # seconds after a question appears in which keys count for nothing: they were meant for something else
FOREGROUND_INTERVAL = 0.3  # seconds between two looks whether a background job was brought back
ENDING = (
    signal.SIGHUP,
    signal.SIGQUIT,
)  # end the process unseen by others; SIGTERM and SIGINT have a receiver


def in_foreground(fd: int) -> bool:
    """Whether this process may change the terminal; a background job would be stopped for it."""
    try:
        return os.tcgetpgrp(fd) == os.getpgrp()
    except OSError:  # it is not the terminal that controls this process, or it is gone
        return True


@attrs.define(eq=False)
class Keyboard:
    """The terminal at `fd`; `on_return` is called when keys are read again after a stop."""

    fd: int
    on_return: Callable[[], None] = lambda: None
    _saved: list[int | list[bytes | int]] | None = None  # None: the terminal is as it was

    @classmethod
    @asynccontextmanager
    async def open(cls, fd: int, on_return: Callable[[], None]) -> AsyncGenerator[Keyboard, None]:
        """Wait until this is the foreground job, then give single keys. An error leaves in an ExceptionGroup."""
        keyboard = cls(fd, on_return)
        async with trio.open_nursery() as nursery:
            await nursery.start(keyboard._handle_signals)
            try:
                await keyboard._take()
                yield keyboard
            finally:
                keyboard._give_back()
            nursery.cancel_scope.cancel()

    async def read(self) -> bytes:
        """What was typed; b"" when the terminal is gone."""
        while True:
            await trio.lowlevel.wait_readable(self.fd)
            try:
                return os.read(self.fd, 1024)
            except BlockingIOError:
                continue
            except OSError:
                return b""

    async def discard_early_keys(self) -> None:
        """Wait for GUARD seconds, and forget all that was typed until then."""
        await trio.sleep(GUARD)
        self.discard()

    def discard(self) -> None:
        """Forget what was typed and not read."""
        try:
            termios.tcflush(self.fd, termios.TCIFLUSH)
        except termios.error:
            pass  # the terminal is gone: reading says so

    @asynccontextmanager
    async def lent(self) -> AsyncGenerator[None, None]:
        """The terminal as it was before, for another program, during the block."""
        self._give_back()
        yield
        await self._take()

    async def _take(self) -> None:
        while not in_foreground(self.fd):  # noqa: ASYNC110  # the kernel sends no event for it
            await trio.sleep(FOREGROUND_INTERVAL)
        self._set_single_keys()

    def _set_single_keys(self) -> None:
        try:
            saved = termios.tcgetattr(self.fd)
            single = termios.tcgetattr(self.fd)
            single[3] &= ~(termios.ICANON | termios.ECHO)
            single[6][termios.VMIN], single[6][termios.VTIME] = 1, 0
            termios.tcsetattr(self.fd, termios.TCSAFLUSH, single)
        except termios.error:
            return  # the terminal is gone: reading says so
        self._saved = saved

    def _give_back(self) -> None:
        saved, self._saved = self._saved, None
        if saved is not None and in_foreground(self.fd):
            try:
                termios.tcsetattr(self.fd, termios.TCSANOW, saved)
            except termios.error:
                pass  # the terminal is gone, and its settings with it

    async def _handle_signals(self, *, task_status: trio.TaskStatus[None]) -> None:
        with trio.open_signal_receiver(signal.SIGTSTP, *ENDING) as signals:
            task_status.started()
            async for number in signals:
                taken = self._saved is not None
                self._give_back()
                if number != signal.SIGTSTP:
                    break
                os.kill(os.getpid(), signal.SIGSTOP)
                if taken:
                    await self._take()
                    self.on_return()
        os.kill(os.getpid(), number)
