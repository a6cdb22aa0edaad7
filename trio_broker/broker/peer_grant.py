"""What a client of the Unix socket may do: all that the owner may, unless its process runs inside an agent.

An agent has a shell, and `trio-broker` is in its PATH. So that it does not answer its own questions, a client inside an
agent may look at every session and prompt the others, and no more. What the broker goes by are facts of the kernel
where it can: the parents of the client's process. A process that has left its agent (a double fork) is adopted by the
broker, which is a subreaper; its tag then says whose it is, and without a tag it is an agent's, of no known session. It
may only look then, because any session could be its own. Other brokers' agents count as anybody else.

This stops mistakes, not an attacker: a process with the owner's user id can edit the configuration, ask another daemon
to start a program for it (cron, ssh, tmux), or set the tags that it likes. And an owner's shell inside an agent's
terminal can't be told from the agent.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from functools import partial

import attrs
import trio

from trio_broker.agent import process_tags
from trio_broker.auth.grant import OWNER, Grant, InsideAgent, Scope
from trio_broker.broker.broker import Broker
from trio_broker.session.session import Session

log = logging.getLogger(__name__)

TIMEOUT = (
    10.0  # seconds for a look at a client's process: one that is stuck in the kernel can hold up who reads it
)
MAX_LOOKS = 8  # at the same time, each in a thread
ENDED = (
    "the process of this client had ended, or kept changing, before the broker could see who had started it"
)
UNKNOWN = "this client runs inside an agent, of which session is not known"
STAY = "keep the connecting process alive until it has its answer"
OUTSIDE = (
    "run it outside of the agent, or with the TRIO_BROKER_ variables that the agent has in its environment"
)


@attrs.frozen
class Origin:
    """Where a process comes from that runs inside an agent: the key of that session, or why there is none."""

    key: str | None
    why: str = UNKNOWN
    remedy: str = OUTSIDE


@attrs.define(eq=False)
class PeerGrants:
    """`runtime`: the part of the tag that all brokers of this runtime directory share. Make it before the first agent.

    A process that fell to the broker and is older than that is no agent's: a broker that a shell became by `exec` has
    the shell's children.
    """

    broker: Broker
    runtime: str
    since: int = attrs.field(factory=process_tags.ticks_since_boot)
    _looks: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(MAX_LOOKS))

    async def find(self, pid: int) -> Grant:
        """The grant of the client with this process. It waits for a thread, and no longer than TIMEOUT seconds."""
        agents, origin = self.broker.agent_processes(), Origin(None, ENDED, STAY)
        look: partial[Origin | None] = partial(find_origin, pid, agents, self.runtime, self.since)
        with trio.move_on_after(TIMEOUT):
            found = await trio.to_thread.run_sync(look, abandon_on_cancel=True, limiter=self._looks)
            if found is None:
                return OWNER
            origin = found
        session = self.broker.pool.get(origin.key) if origin.key is not None else None
        if session is not None:
            log.info("client_inside_agent pid=%s session=%r", pid, session.key)
            return self._grant_inside(session)
        log.info("client_only_looks pid=%s why=%r", pid, origin.why)
        inside = InsideAgent(origin.why, origin.remedy, None)
        return Grant("agent of an unknown session", frozenset({Scope.OBSERVE}), inside=inside)

    def _grant_inside(self, session: Session) -> Grant:
        """The name stays where `may_answer` gives it all rights: the log is to tell an agent from its owner."""
        name, spec = f"agent of session {session.key!r}", session.settings.spec
        agent = self.broker.config.agents.get(spec.name) if spec.source == "config" else None
        if agent is not None and agent.may_answer:
            return Grant(name, frozenset(Scope))
        command = "" if agent is not None else "its command and "
        inside = InsideAgent(
            f"this client runs inside the agent of session {session.key!r}",
            f"set {command}may_answer = true in [agents.{spec.name}] to allow it",
            session.key,
        )
        return Grant(name, frozenset({Scope.PROMPT}), roots=(session.settings.real_cwd,), inside=inside)


def find_origin(pid: int, agents: Mapping[int, str], runtime: str, since: int) -> Origin | None:
    """The agent inside which a process runs, None if there is none. It blocks: a few small files are read.

    `agents`: the keys of sessions, by the numbers of their agents' processes. `since`: in ticks since boot.
    """
    if (chain := process_tags.ancestors(pid)) is None:
        return Origin(None, ENDED, STAY)
    for process in chain:
        if process.pid in agents:
            return Origin(agents[process.pid])
    us, child = os.getpid(), None
    for process in chain:
        if process.pid == us:
            return Origin(None) if child is not None and child.start_time >= since else None
        tags = process_tags.tags_of(process.pid)
        if process_tags.runtime_of(tags.instance) == runtime:
            return Origin(tags.session)
        if tags.hook == str(us):
            return None
        child = process
    return None
