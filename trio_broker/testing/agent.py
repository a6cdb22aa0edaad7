"""A scripted ACP agent for tests: what it does in a turn is written in the prompt itself.

    python -m trio_broker.testing.agent [--name X] [flags]        (or by the path of this file, with -S -E)

A prompt's text is a list of acts, separated by `;` or newlines; other text is answered by "echo: TEXT". `--help` lists
acts and flags. The acts are the methods `do_…` of `Turn` in `scripted_agent.actions` and of its bases in `questions`
and `tools`, the patterns of their arguments are `ACTIONS` in `scripted_agent.script`, and the flags are `FLAGS` in
`scripted_agent.agent`. An act whose arguments do
not match its pattern is taken for other text ("wait for me" is no `wait`).

Standard library only, and only what starts fast: two hundred of these are started in one test. The main thread reads
stdin and answers at once; each turn has its own thread, so that a cancel is seen in mid-turn.
"""

from __future__ import annotations

import os
import sys

if (
    not __package__
):  # run by its path, with no package around; what is imported is compiled once, this file each time
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from trio_broker.testing.scripted_agent.agent import main

if __name__ == "__main__":
    sys.exit(main())
