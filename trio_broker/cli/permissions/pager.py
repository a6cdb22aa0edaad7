"""A long text in the pager of the person: $PAGER, else less, else more.

The text is safe for a terminal and goes in through stdin. The pager cannot start an editor or a shell from it
(LESSSECURE): it shows what an agent wrote.
"""

from __future__ import annotations

import os
import shlex
import shutil

DEFAULTS = (["less", "-R"], ["more"])


def pager_command() -> list[str] | None:
    """The pager's words; None if there is none, or $PAGER is empty."""
    chosen = os.environ.get("PAGER")
    if chosen is not None:
        try:
            words = shlex.split(chosen)
        except ValueError:  # a quote that is not closed
            words = []
        return words if words and shutil.which(words[0]) else None
    return next((words for words in DEFAULTS if shutil.which(words[0])), None)


def pager_env() -> dict[str, str]:
    """The environment of the pager; what it reads from here starts no other program."""
    env = {name: value for name, value in os.environ.items() if name not in ("LESSOPEN", "LESSCLOSE")}
    return {"LESS": "-R", **env, "LESSSECURE": "1"}


def show(text: str) -> bool:
    """Show the text until the person leaves the pager. False if there is none, and nothing was shown."""
    command = pager_command()
    if command is None:
        return False
    import subprocess  # late: a short text needs none

    subprocess.run(command, input=text.encode("utf-8", "replace"), env=pager_env(), check=False)
    return True


async def show_async(text: str) -> bool:
    """The same in Trio. Cancelling it ends the pager."""
    command = pager_command()
    if command is None:
        return False
    import trio

    async def end(process: trio.Process) -> None:
        process.terminate()
        with trio.move_on_after(1):
            await process.wait()
            return
        process.kill()

    data = text.encode("utf-8", "replace")
    await trio.run_process(command, stdin=data, env=pager_env(), check=False, deliver_cancel=end)
    return True
