"""A broker that comes after another one on the same journal: what it finds, and what it does with it."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from trio_broker.auth.grant import Grant, Scope
from trio_broker.errors import Forbidden, Misuse, NoSession
from trio_broker.journal.store import Journal
from trio_broker.testing.clients.user import User
from trio_broker.testing.in_process.memory_agent import Habits
from trio_broker.testing.in_process.rig import open_rig, settings

LOAD = Habits(load=True)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite"


def say(text: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": text}]


async def page(user: User, **which: Any) -> list[dict[str, Any]]:
    """All events of a log."""
    found: list[dict[str, Any]] = (await user.call("_trio_broker/events", **which, limit=100_000))["events"]
    return found


async def test_b13_every_session_is_listed_and_taken_up(path: Path) -> None:
    with trio.fail_after(60):
        async with open_rig(habits=LOAD, journal=path) as rig, rig.connect() as user:
            ids = {key: await user.open(key) for key in ("a", "b")}
            for key, session in ids.items():
                assert await user.prompt(session, f"say {key}") == "end_turn"
        async with open_rig(habits=LOAD, journal=path) as rig, rig.connect() as user:
            views = (await user.status())["sessions"]
            assert [(view["key"], view["sessionId"], view["phase"]) for view in views] == [
                (key, session, "suspended") for key, session in ids.items()
            ], "the order is that of before, too"
            await user.call("initialize", protocolVersion=1)
            listed = (await user.call("session/list"))["sessions"]
            assert {session["sessionId"] for session in listed} == set(ids.values())
            assert await user.prompt(ids["a"], "say more") == "end_turn"
            assert rig.agent("a").got("session/load") and (await user.view("b"))["phase"] == "suspended"
            log = await page(user, key="a")
            assert [event["seq"] for event in log] == list(range(1, len(log) + 1))
            texts = [event["update"]["content"]["text"] for event in log if event["kind"] == "update"]
            assert texts == ["a", "more"]


async def test_the_turn_that_ran_is_unknown_and_not_sent_again(path: Path) -> None:
    with trio.fail_after(60):
        async with open_rig(habits=LOAD, journal=path) as rig, rig.connect() as user:
            session = await user.open("k")
            user.later(user.prompt, session, "say begun; hang", promptId="running")
            await user.wait_phase("k", "working")
            user.later(user.prompt, session, "say waiting", promptId="waiting")
            while not user.said(session) or (await user.view("k"))["queue"] != 1:  # noqa: ASYNC110  # seen from outside
                await trio.sleep(0.01)
            await rig.broker.keeper.flush()
            files = {file: file.read_bytes() for file in path.parent.iterdir()}  # as a kill -9 leaves them
        for file, data in files.items():
            file.write_bytes(data)
        async with open_rig(habits=LOAD, journal=path) as rig, rig.connect() as user:
            ended = {
                event["promptId"]: event for event in await page(user, key="k") if event["kind"] == "ended"
            }
            assert ended["running"]["outcome"] == "unknown" and "not sent again" in ended["running"]["note"]
            assert ended["waiting"]["outcome"] == "failed"
            opened = await user.call("_trio_broker/open", key="k", cwd="/tmp", agent="demo")
            assert opened["woken"] and opened["resumed"] == "loaded"
            assert await user.prompt(session, "say on") == "end_turn"
            assert rig.agent("k").prompts() == ["say on"]


async def test_prompts_that_nobody_waits_for_run_once_after_the_restart(path: Path) -> None:
    with trio.fail_after(60):
        async with open_rig(habits=LOAD, journal=path) as rig, rig.connect() as user:
            session = await user.open("k")
            await user.submit(session, "hang", promptId="first")
            for id in ("second", "third"):
                await user.submit(session, f"say {id}", promptId=id)
            files = {file: file.read_bytes() for file in path.parent.iterdir()}
        for file, data in files.items():
            file.write_bytes(data)
        async with open_rig(habits=LOAD, journal=path) as rig, rig.connect() as user:
            await user.call("_trio_broker/wait", key="k", promptId="third")
            assert rig.agent("k").prompts() == ["say second", "say third"]
            again = await user.submit(session, "say third", promptId="third")
            assert again["ended"]["outcome"] == "completed"
        async with open_rig(habits=LOAD, journal=path) as rig, rig.connect() as user:
            assert (await user.view("k"))["phase"] == "suspended" and rig.agents.spawned == []
            ends = [event for event in await page(user, key="k") if event["kind"] == "ended"]
            assert [(end["promptId"], end["outcome"]) for end in ends] == [
                ("first", "unknown"), ("second", "completed"), ("third", "completed"),
            ]  # fmt: skip


@pytest.mark.parametrize(
    ("of_session", "of_prompt", "by", "option"),
    [
        ("approve-all", "deny-all", "policy:deny-all", "reject"),
        ("deny-all", "approve-all", "policy:approve-all", "allow"),
        ("deny-all", None, "policy:deny-all", "reject"),
    ],
)
async def test_such_a_prompt_has_the_policy_it_was_queued_with(
    path: Path, of_session: str, of_prompt: str | None, by: str, option: str
) -> None:
    own = {} if of_prompt is None else {"policy": of_prompt}
    with trio.fail_after(60):
        async with open_rig(habits=LOAD, journal=path) as rig, rig.connect() as user:
            session = await user.open("k", policy=of_session)
            await user.submit(session, "hang")
            await user.submit(session, "ask go", promptId="asks", **own)
            await user.call("_trio_broker/queue_edit", key="k", promptId="asks", prompt=say("ask again"))
            await user.call("_trio_broker/queue_edit", key="k", promptId="asks", position=1)
        async with open_rig(habits=LOAD, journal=path) as rig, rig.connect() as user:
            await user.call("_trio_broker/wait", key="k", promptId="asks")
            answers = [event for event in await page(user, key="k") if event["kind"] == "answer"]
            assert [(answer["by"], answer["optionId"]) for answer in answers] == [(by, option)]


async def test_a_policy_does_not_outlive_the_scope_it_needed(path: Path) -> None:
    """What a token may not choose is in no queue, so it comes back with none."""
    prompts_only = Grant("ci", frozenset({Scope.PROMPT}), roots=("/tmp",))
    with trio.fail_after(60):
        async with open_rig(habits=LOAD, journal=path) as rig, rig.connect(grant=prompts_only) as user:
            session = await user.open("k", policy="deny-all")
            await user.submit(session, "hang")
            with pytest.raises(Forbidden, match="the policy 'approve-all'"):
                await user.submit(session, "ask no", promptId="asks", policy="approve-all")
            await user.submit(session, "ask go", promptId="asks")
        async with open_rig(habits=LOAD, journal=path) as rig, rig.connect() as user:
            await user.call("_trio_broker/wait", key="k", promptId="asks")
            answers = [event for event in await page(user, key="k") if event["kind"] == "answer"]
            assert [answer["by"] for answer in answers] == ["policy:deny-all"]


async def test_who_edited_such_a_prompt_is_known_though_it_was_moved_then(path: Path) -> None:
    with trio.fail_after(60):
        async with open_rig(habits=LOAD, journal=path) as rig, rig.connect() as user:
            session = await user.open("k")
            await user.submit(session, "hang")
            for id in ("first", "second"):
                await user.submit(session, f"say {id}", promptId=id)
            await user.call("_trio_broker/queue_edit", key="k", promptId="second", prompt=say("say 2"))
            await user.call("_trio_broker/queue_edit", key="k", promptId="second", position=1)
        async with open_rig(habits=LOAD, journal=path) as rig, rig.connect() as user:
            await user.call("_trio_broker/wait", key="k", promptId="first")
            begun = {one["promptId"]: one for one in await page(user, key="k") if one["kind"] == "started"}
            assert begun["second"]["editedBy"].startswith("owner (client-")
            assert "editedBy" not in begun["first"]


async def test_they_are_kept_over_a_polite_end_too_and_those_that_somebody_waits_for_end(path: Path) -> None:
    with trio.fail_after(60):
        async with open_rig(habits=LOAD, journal=path) as rig, rig.connect() as user:
            session = await user.open("k")
            running = user.later(user.prompt, session, "hang", promptId="running")
            await user.wait_phase("k", "working")
            for id in ("second", "third"):
                await user.submit(session, f"say {id}", promptId=id)
            waited = user.later(user.prompt, session, "say " + "long " * 20, promptId="waited")
            again = user.later(user.prompt, session, "say third", promptId="third")
            await user.call("_trio_broker/queue_edit", key="k", promptId="third", position=1)
            assert await user.call("_trio_broker/shutdown") == {"kept": 2}
            stops = "the broker stops; session 'k' is kept and can be resumed"
            assert (await running.fails()).message == stops
            begins = f"'{('say ' + 'long ' * 20)[:40]}…'"
            assert (
                await waited.fails()
            ).message == f"the prompt {begins} was never sent to the agent: {stops}"
            kept = "the broker stops; the prompt 'say third' is kept and runs after the next start"
            assert (await again.fails()).message == kept
            await rig.ended.wait()
        async with open_rig(habits=LOAD, journal=path) as rig, rig.connect() as user:
            await user.call("_trio_broker/wait", key="k", promptId="second")
            assert rig.agent("k").prompts() == ["say third", "say second"]
            ends = [event for event in await page(user, key="k") if event["kind"] == "ended"]
            assert [(end["promptId"], end["outcome"]) for end in ends] == [
                ("running", "failed"), ("waited", "failed"), ("third", "completed"), ("second", "completed"),
            ]  # fmt: skip


async def test_one_that_waits_already_and_is_submitted_is_kept_in_its_place(path: Path) -> None:
    with trio.fail_after(60):
        async with open_rig(habits=LOAD, journal=path) as rig, rig.connect() as user:
            session = await user.open("k")
            await user.submit(session, "hang")
            waited = user.later(user.prompt, session, "say waited", promptId="waited")
            while not (await user.view("k"))["queue"]:  # noqa: ASYNC110  # seen from outside
                await trio.sleep(0.001)
            await user.submit(session, "say last", promptId="last")
            assert await user.submit(session, "say waited", promptId="waited") == {
                "promptId": "waited",
                "position": 1,
            }
            assert await user.call("_trio_broker/shutdown") == {"kept": 2}
            assert "is kept and runs after the next start" in (await waited.fails()).message
            await rig.ended.wait()
        async with open_rig(habits=LOAD, journal=path) as rig, rig.connect() as user:
            await user.call("_trio_broker/wait", key="k", promptId="last")
            assert rig.agent("k").prompts() == ["say waited", "say last"]


async def test_a_drain_that_can_not_run_them_any_more_keeps_them(path: Path) -> None:
    with trio.fail_after(60):
        config = settings(cancel_grace=0.01)
        async with open_rig(config, LOAD, journal=path) as rig, rig.connect() as user:
            session = await user.open("k")
            await user.submit(session, "hang-hard")
            await user.wait_phase("k", "working")
            await user.submit(session, "say later", promptId="later")
            again = user.later(user.prompt, session, "say later", promptId="later")
            await user.call("_trio_broker/shutdown", drain=True)
            await user.cancel(session)
            assert "is kept and runs after the next start" in (await again.fails()).message
            assert await user.call("_trio_broker/shutdown") == {"kept": 1}
            await rig.ended.wait()
        async with open_rig(config, LOAD, journal=path) as rig, rig.connect() as user:
            await user.call("_trio_broker/wait", key="k", promptId="later")
            assert rig.agent("k").prompts() == ["say later"]


async def test_a_drain_does_not_wait_for_a_queue_that_found_no_room_after_the_restart(path: Path) -> None:
    with trio.fail_after(60):
        async with open_rig(habits=LOAD, journal=path) as rig, rig.connect() as user:
            for key in ("one", "other"):
                session = await user.open(key)
                await user.submit(session, "hang")
                await user.submit(session, "wait 0.01", promptId=f"of {key}")
            await user.call("_trio_broker/shutdown")
            await rig.ended.wait()
        small = settings(max_sessions=1)
        async with open_rig(small, LOAD, journal=path) as rig, rig.connect() as user:
            await user.call("_trio_broker/shutdown", drain=True)
            await rig.ended.wait()
            ran = [agent.prompts() for agent in rig.agents.spawned]
        async with open_rig(habits=LOAD, journal=path) as rig, rig.connect() as user:
            await user.call("_trio_broker/wait", key="other", promptId="of other")
            await user.call("_trio_broker/wait", key="one", promptId="of one")
            ran += [agent.prompts() for agent in rig.agents.spawned]
        assert ran == [["wait 0.01"], ["wait 0.01"]]


async def test_a_close_keeps_nothing(path: Path) -> None:
    with trio.fail_after(60):
        async with open_rig(habits=LOAD, journal=path) as rig, rig.connect() as user:
            session = await user.open("k")
            await user.submit(session, "hang")
            await user.submit(session, "say never", promptId="never")
            await user.call("_trio_broker/close", key="k")
            assert await user.call("_trio_broker/shutdown") == {"kept": 0}
            await rig.ended.wait()
        async with open_rig(habits=LOAD, journal=path) as rig, rig.connect() as user:
            ends = [event for event in await page(user, sessionId=session) if event["kind"] == "ended"]
            says = "the prompt 'say never' was never sent to the agent: session 'k' was closed"
            assert ends[-1]["promptId"] == "never" and ends[-1]["error"] == says
            assert rig.agents.spawned == []


async def test_without_a_journal_nothing_is_promised(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig(habits=LOAD) as rig, rig.connect() as user:
            session = await user.open("k")
            await user.submit(session, "hang")
            await user.submit(session, "say never")
            assert await user.call("_trio_broker/shutdown") == {"kept": 0}


async def test_what_was_said_in_such_a_turn_is_history_and_no_news(path: Path) -> None:
    with trio.fail_after(60):
        async with open_rig(habits=LOAD, journal=path) as rig, rig.connect() as user:
            session = await user.open("k")
            await user.submit(session, "hang")
            await user.submit(session, "say later", promptId="later")
            files = {file: file.read_bytes() for file in path.parent.iterdir()}
        for file, data in files.items():
            file.write_bytes(data)
        async with open_rig(habits=LOAD, journal=path) as rig, rig.connect() as user:
            await user.call("_trio_broker/wait", key="k", promptId="later")
            await user.open("k")
            await user.prompt(session, "say now")
            assert user.said(session) == "now"


@pytest.mark.parametrize("how", ["attach", "events"])
async def test_who_had_heard_more_than_the_killed_broker_could_keep_hears_what_came_of_it(
    how: str, path: Path
) -> None:
    with trio.fail_after(60):
        async with open_rig(habits=LOAD, journal=path) as rig, rig.connect() as user:
            session = await user.open("k")
            user.later(user.prompt, session, "hang", promptId="p")
            await user.wait_phase("k", "working")
            await rig.broker.keeper.flush()
            files = {file: file.read_bytes() for file in path.parent.iterdir()}
            for number in range(5):
                await rig.agent("k").say(str(number))
            while user.said(session) != "01234":  # noqa: ASYNC110  # seen from outside
                await trio.sleep(0.001)
            heard = (await user.view("k"))["events"]
        for file, data in files.items():
            file.write_bytes(data)
        async with open_rig(habits=LOAD, journal=path) as rig, rig.connect() as user:
            told = await user.call(f"_trio_broker/{how}", key="k", since=heard + 1)
            while how == "attach" and len(user.events) < 2:  # noqa: ASYNC110  # they come after the answer
                await trio.sleep(0.001)
            gap, event = user.events or told["events"]
            assert (gap["kind"], gap["seq"]) == ("gap", heard + 1) and gap["from"] < heard
            assert (event["kind"], event["promptId"], event["outcome"]) == ("ended", "p", "unknown")
            assert event["seq"] == gap["to"] + 1


async def never_answer(_: object) -> object:
    await trio.sleep_forever()


async def test_open_asks_are_expired(path: Path) -> None:
    with trio.fail_after(60):
        async with open_rig(journal=path) as rig:
            async with rig.connect(never_answer) as user:
                await user.submit(await user.open("k"), "ask go")
                await user.wait_phase("k", "waiting")
            await rig.broker.keeper.flush()
            files = {file: file.read_bytes() for file in path.parent.iterdir()}
        for file, data in files.items():
            file.write_bytes(data)
        async with open_rig(journal=path) as rig, rig.connect() as user:
            answers = [event for event in await page(user, key="k") if event["kind"] == "answer"]
            assert [(answer["by"], answer["outcome"]) for answer in answers] == [("restart", "expired")]


async def test_a_closed_session_is_history_and_its_key_is_free(path: Path) -> None:
    with trio.fail_after(60):
        async with open_rig(journal=path) as rig, rig.connect() as user:
            old = await user.open("k")
            await user.prompt(old, "say old")
            await user.call("_trio_broker/close", key="k")
            new = await user.open("k")
            assert new != old
            await user.prompt(new, "say new")
            items = (await user.call("_trio_broker/history", sessionId=old))["items"]
            assert [item["text"] for item in items if item["kind"] == "text"] == ["old"]
        async with open_rig(journal=path) as rig, rig.connect() as user:
            assert [view["sessionId"] for view in (await user.status())["sessions"]] == [new]
            await user.call("_trio_broker/delete", sessionId=old)
            assert isinstance(await user.later(page, user, sessionId=old).fails(), NoSession)
        with closing(Journal.open(path)) as journal:
            assert [saved.session_id for saved in journal.sessions()] == [new]


async def test_one_that_never_had_a_conversation_is_not_there_any_more(path: Path) -> None:
    with trio.fail_after(60):
        async with open_rig(habits=Habits(version=9), journal=path) as rig, rig.connect() as user:
            await user.later(user.open, "k").fails()
            assert (await user.view("k"))["phase"] == "dead"
        async with open_rig(journal=path) as rig, rig.connect() as user:
            assert (await user.status())["sessions"] == []
        with closing(Journal.open(path)) as journal:
            assert journal.sessions() == []


async def test_export_and_import_over_the_socket(path: Path, tmp_path: Path) -> None:
    with trio.fail_after(60):
        async with open_rig(journal=path) as rig, rig.connect() as user:
            session = await user.open("k")
            await user.prompt(session, "say one; say two")
            lines: list[str] = []
            since: int | None = 1
            while since is not None:
                part = await user.call("_trio_broker/export", key="k", since=since, limit=2)
                lines, since = lines + part["lines"], part["next"]
            log = await page(user, key="k")
        async with open_rig(journal=tmp_path / "other") as rig, rig.connect() as user:
            await user.call("_trio_broker/import", lines=lines)
            assert await page(user, sessionId=session) == log


async def test_without_a_journal_the_verbs_of_the_archive_say_so(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect() as user:
            error = await user.later(user.call, "_trio_broker/prune", olderThan=1).fails()
            assert "keeps no journal" in error.message


async def test_an_import_that_its_client_leaves_is_given_up(path: Path) -> None:
    """Its first page is on disk then, and whoever comes after it finds nothing of it."""
    head = '{"trio-broker": 1, "key": "k", "session_id": "s", "meta": {}, "updated_at": 1, "last": 1}'
    note = '{"first": 1, "count": 1, "at": 1.5, "kind": "note", "data": {"text": "old"}}'
    with trio.fail_after(60):
        async with open_rig(journal=path) as rig, rig.connect() as other:
            async with rig.connect() as user:
                begun = await user.call("_trio_broker/import", lines=[head, note], more=True)
            await trio.testing.wait_all_tasks_blocked()
            await rig.broker.keeper.flush()
            assert await rig.broker.keeper.read(begun["number"], 1, 100) == []
            with pytest.raises(Misuse, match="no import of number 1 is under way"):
                await other.call("_trio_broker/import", lines=[], number=begun["number"])
            taken = await other.call("_trio_broker/import", lines=[head], more=True)
            assert await other.call("_trio_broker/import", lines=[note], **taken) == taken
            assert [event["text"] for event in await page(other, sessionId="s")] == ["old"]
