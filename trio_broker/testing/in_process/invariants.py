"""What holds of a broker whatever was done to it; each promise that it broke is a sentence.

    async with open_rig() as rig:
        ...                       # anything at all
        await assert_sound(rig)

It is asked for the state of things, brought to rest, closed session by session, and used once more. So afterwards there
is nothing left to go on with. Agents are those in memory: they know what they said.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from typing import Any

import attrs
import trio

from trio_broker.errors import BrokerError
from trio_broker.journal.record import Record
from trio_broker.protocol import jsonrpc
from trio_broker.session.session import Session
from trio_broker.testing.in_process.rig import Rig

Json = dict[str, Any]
STATUS_TIMEOUT = 5.0  # seconds in which status is answered
TURNS_TIMEOUT = (
    60.0  # seconds for turns to come to their end by themselves; then they are closed, and have to heed that
)
END_MARGIN = 10.0  # seconds for an end, over what the ladder takes
POLL_INTERVAL = 0.1


@attrs.frozen
class ResourceCount:
    """What there is of everything that has to be given back."""

    tasks: int
    files: int

    @classmethod
    def take(cls) -> ResourceCount:
        return cls(trio.lowlevel.current_statistics().tasks_living, len(os.listdir("/dev/fd")))


async def assert_sound(rig: Rig, before: ResourceCount | None = None) -> None:
    """Raises AssertionError with all that is broken. `before`: what there was before anybody came."""
    found = await broken(rig, before)
    assert not found, "the broker broke its promises:\n" + "\n".join(f"  {what}" for what in found)


async def broken(rig: Rig, before: ResourceCount | None = None) -> list[str]:
    """Every broken promise of a rig's broker; its agents, and nothing else, are ended by asking."""
    if rig.broker.stopping.is_set() or rig.broker.draining or rig.cancel_scope.cancel_called:
        sessions = rig.broker.pool.snapshot()
        found = [*await _check_ended(rig), *_check_logs(rig, sessions)]
    else:
        found = [*await _check_status(rig)]
        await _wait_idle(rig)
        sessions = rig.broker.pool.snapshot()
        found += [
            *_check_updates(rig, sessions),
            *await _close_sessions(rig, sessions),
            *_check_logs(rig, sessions),
        ]
        found += [*_check_released(rig), *await _check_new_session(rig)]
    await trio.sleep(END_MARGIN)
    return [*found, *_check_calls(rig), *_check_agents(rig), *_check_leaks(rig, before)]


async def _check_status(rig: Rig) -> list[str]:
    with trio.move_on_after(STATUS_TIMEOUT):
        async with rig.connect() as user:
            await user.status()
        return []
    return [f"status was not answered within {STATUS_TIMEOUT:g} s"]


async def _wait_idle(rig: Rig) -> None:
    with trio.move_on_after(TURNS_TIMEOUT):
        while any(s.turns.running or s.turns.queued() for s in rig.broker.pool.snapshot()):  # noqa: ASYNC110
            await trio.sleep(POLL_INTERVAL)  # seen from outside only
    await trio.sleep(POLL_INTERVAL)


async def _check_ended(rig: Rig) -> list[str]:
    limits = rig.broker.config.broker
    calm = TURNS_TIMEOUT if rig.broker.draining else 0  # turns come to their end first
    with trio.move_on_after(calm + limits.close_grace + limits.term_grace + END_MARGIN):
        await rig.ended.wait()
        return []
    return ["the broker was told to end and did not"]


async def _close_sessions(rig: Rig, sessions: Iterable[Session]) -> list[str]:
    limits, found = rig.broker.config.broker, []
    for session in sessions:
        with trio.move_on_after(limits.close_grace + limits.term_grace + END_MARGIN) as waiting:
            await rig.broker.close(session)
        if waiting.cancelled_caught:
            found.append(f"{session.key}: it could not be closed")
    return found


async def _check_new_session(rig: Rig) -> list[str]:
    with trio.move_on_after(TURNS_TIMEOUT):
        async with rig.connect() as user:
            try:
                session = await user.open("the last one", policy="deny-all")
                reason = await user.prompt(session, "say fine")
                await user.call("_trio_broker/close", sessionId=session)
            except BrokerError as error:
                return [f"a new session did not work: {error}"]
        return [] if reason == "end_turn" else [f"a new session's turn ended with {reason}"]
    return ["a new session did not work within its time"]


def _check_logs(rig: Rig, sessions: Iterable[Session]) -> Iterable[str]:
    for session in sessions:
        yield from (f"{session.key}: {what}" for what in log_violations(log_records(session)))


def log_records(session: Session) -> list[Record]:
    """All that is in a session's log, what is held back included."""
    found: list[Record] = []
    due = 1
    while due < session.log.next and (record := session.log.recent(due)) is not None:
        found.append(record)
        due = record.last + 1
    return found


def log_violations(records: Iterable[Record]) -> list[str]:
    """What is wrong with a log: a number that is missing or there twice, a prompt without its one end."""
    found, due, kinds = [], 1, dict[str, Counter[str]]()
    for record in records:
        if record.first != due:
            found.append(f"its log has number {record.first} where {due} is due")
        due = record.last + 1
        if record.kind in ("queued", "started", "ended"):
            id = jsonrpc.decode(record.data)["promptId"]
            kinds.setdefault(id, Counter())[record.kind] += 1
    for id, counts in kinds.items():
        if counts["ended"] != 1 or counts["started"] > 1:
            found.append(
                f"prompt {id} was started {counts['started']} times and ended {counts['ended']} times"
            )
    return found


def logged_updates(records: Iterable[Record]) -> list[Json]:
    """The updates of a log, one by one."""
    lines = [line for record in records if record.kind == "update" for line in record.data.splitlines()]
    return [jsonrpc.decode(jsonrpc.parse_envelope(line).params)["update"] for line in lines]


def _check_updates(rig: Rig, sessions: Iterable[Session]) -> Iterable[str]:
    """Nothing that an agent said is lost, repeated or out of place; of one that was ended, the end may be missing."""
    for session in sessions:
        agents = [agent for agent in rig.agents.spawned if agent.settings is session.settings]
        in_log = logged_updates(log_records(session))
        for agent in agents:
            sent = agent.sent_updates
            count = len(sent) if agent.alive() else _common_prefix(sent, in_log)
            if in_log[:count] != sent[:count]:
                yield f"{session.key}: its agent said {_short_texts(sent)}, its log has {_short_texts(in_log)}"
            in_log = in_log[count:]
        if in_log:
            yield f"{session.key}: its log has {_short_texts(in_log)} more than its agents said"
        for user in rig.users:
            yield from _check_client_updates(session, user.updates(session.session_id or ""))


def _common_prefix(sent: list[Json], in_log: list[Json]) -> int:
    """How much of what was said is in the log, as far as both agree."""
    pairs = zip(sent, in_log, strict=False)
    return next(
        (at for at, (said, logged) in enumerate(pairs) if said != logged), min(len(sent), len(in_log))
    )


def _check_client_updates(session: Session, received: list[Json]) -> Iterable[str]:
    """What a client heard is a run of what the log has, if it never asked for the past."""
    own = [update for update in received if update["sessionUpdate"] != "user_message_chunk"]
    in_log = logged_updates(log_records(session))
    starts = [at for at in range(len(in_log) + 1) if in_log[at : at + len(own)] == own]
    if own and not starts:
        yield f"{session.key}: a client heard {_short_texts(own)}, its log has {_short_texts(in_log)}"


def _short_texts(updates: Iterable[Json]) -> list[str]:
    found = [str((update.get("content") or {}).get("text", update["sessionUpdate"])) for update in updates]
    return found if len(found) < 20 else [*found[:9], "…", *found[-9:]]


def _check_released(rig: Rig) -> Iterable[str]:
    broker = rig.broker
    left = broker.pool.snapshot()
    if left:
        yield f"these sessions are closed, and still there: {[session.key for session in left]}"
    if taken := broker.registry.starting.borrowed_tokens:
        yield f"{taken} places among those that start are taken, and nobody starts"


def _check_calls(rig: Rig) -> Iterable[str]:
    for user in rig.users:
        waiting = [call.name for call in user.calls if not call.done]
        if waiting:
            yield f"a client still waits for {waiting}, and nothing is left to wait for"


def _check_agents(rig: Rig) -> Iterable[str]:
    for agent in rig.agents.alive():
        yield f"process {agent.pid} of {agent.settings.key!r} was left behind"


def _check_leaks(rig: Rig, before: ResourceCount | None) -> Iterable[str]:
    if before is None or rig.users:
        return
    now = ResourceCount.take()
    if rig.broker.clients:
        yield f"{len(rig.broker.clients)} clients are still counted, and all have left"
    if now.tasks > before.tasks:
        yield f"{now.tasks} tasks live, {before.tasks} did at the beginning"
    if now.files > before.files:
        yield f"{now.files} files are open, {before.files} were at the beginning"
