"""The past of sessions on the command line, and what is said after the daemon was killed."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
from pathlib import Path

import pytest

from trio_broker.testing.processes.home import LIMIT, Home, eventually, is_running


def kill_daemon(home: Home) -> None:
    """`kill -9`, and wait until it is gone."""
    pid = home.status()["pid"]
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not is_running(pid))


def test_what_became_of_a_session_is_said_in_words(home: Home) -> None:
    home.run("prompt", "-a", "demo", "-s", "k", "fast: build 0")
    with home.start("watch", "-s", "k") as watching:
        eventually(lambda: home.session("k")["clients"] == 1)
        assert home.run("sessions", "restart", "-s", "k").returncode == 0
        home.run("down")
        _, told = watching.communicate(timeout=LIMIT)
    assert "[agent] resumed the conversation goes on where it was" in told
    assert "[session] suspended" in told and "[session] ended" not in told
    home.run("prompt", "-a", "demo", "-s", "k", "fast: build 0")
    history = home.run("sessions", "history", "-s", "k").stdout
    assert "agent    resumed: the conversation goes on where it was" in history and "exact" not in history
    assert "session  suspended" in history
    shown = home.run("sessions", "show", "-s", "k").stdout
    assert "resumed: exact: the conversation goes on where it was" in shown
    assert "updates of other sessions: 0" in shown and "foreign" not in shown


def test_after_a_kill_the_next_prompt_says_what_happened_and_history_shows_all(home: Home) -> None:
    assert home.run("prompt", "-a", "demo", "-s", "k", "fast: hello", "--approve-all").returncode == 0
    assert home.run("prompt", "-a", "demo", "-s", "k", "build 600", "--no-wait").returncode == 0
    home.until("k", "working")
    agent = home.session("k")["pid"]
    kill_daemon(home)
    eventually(lambda: not is_running(agent))
    done = home.run("prompt", "-a", "demo", "-s", "k", "fast: again", "--approve-all")
    assert done.returncode == 0
    assert "[before] the last turn: unknown: the broker ended while this turn ran" in done.stderr
    assert "[resumed] the conversation goes on where it was" in done.stderr
    items = [
        json.loads(line)
        for line in home.run("sessions", "history", "-s", "k", "--format", "json").stdout.splitlines()
    ]
    assert [item["text"] for item in items if item["kind"] == "prompt"] == [
        "fast: hello",
        "build 600",
        "fast: again",
    ]
    ends = [(item["outcome"]) for item in items if item["kind"] == "end"]
    assert ends == ["completed", "unknown", "completed"]
    text = home.run("sessions", "history", "-s", "k").stdout
    assert "prompt   build 600" in text and "unknown: the broker ended" in text
    quiet = home.run("sessions", "history", "-s", "k", "--format", "quiet").stdout
    assert quiet.count("You asked") == 2


def test_a_prompt_that_was_queued_runs_after_the_kill_once(home: Home) -> None:
    for id, text in (("one", "hang"), ("two", "say second")):
        assert home.run("fake", "-s", "k", text, "--no-wait", "--prompt-id", id).returncode == 0
    kill_daemon(home)
    assert home.run("up").returncode == 0
    done = home.run("wait", "-s", "k", "--prompt-id", "two", "--format", "json")
    assert json.loads(done.stdout)["ended"]["outcome"] == "completed"
    again = home.run("fake", "-s", "k", "say second", "--no-wait", "--prompt-id", "two")
    assert "it has run already: completed" in again.stderr
    assert home.run("sessions", "history", "-s", "k", "--format", "quiet").stdout == "second\n"


def test_a_prompt_that_was_removed_from_the_queue_does_not_run_after_a_kill(home: Home) -> None:
    for id, text in (("one", "hang"), ("two", "say second"), ("three", "say third")):
        assert home.run("fake", "-s", "k", text, "--no-wait", "--prompt-id", id).returncode == 0
    assert home.run("queue", "remove", "-s", "k", "two").returncode == 0
    kill_daemon(home)
    assert home.run("up").returncode == 0
    assert home.run("wait", "-s", "k", "--prompt-id", "three").returncode == 0
    assert home.run("sessions", "history", "-s", "k", "--format", "quiet").stdout == "third\n"
    assert "cancelled 'say second': removed" in home.run("sessions", "history", "-s", "k").stdout


def test_export_import_close_delete_and_prune(home: Home, tmp_path: Path) -> None:
    file = tmp_path / "k.ndjson"
    assert home.run("fake", "-s", "k", "say hello").returncode == 0
    id = home.session("k")["sessionId"]
    done = home.run("sessions", "export", "-s", "k", "-o", str(file))
    lines = file.read_text(encoding="utf-8").splitlines()
    assert done.stderr == f"{len(lines)} lines\n" and json.loads(lines[0])["key"] == "k"
    assert home.run("sessions", "delete", "-s", "k").returncode == 0
    assert home.run("sessions", "history", "--id", id).returncode == 4
    assert home.run("sessions", "import", str(file)).returncode == 0
    history = home.run("sessions", "history", "--id", id, "--format", "quiet")
    assert history.stdout == "hello\n"
    assert home.run("sessions", "prune", "--older-than", "1d").stderr == "0 sessions forgotten\n"
    assert home.run("sessions", "prune", "--older-than", "0s").stderr == "1 sessions forgotten\n"
    assert home.run("sessions", "history", "--id", id).returncode == 4


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (
            ("sessions", "prune", "--older-than", "soon"),
            2,
            "no length of time; write it as 90s, 15m, 12h or 30d",
        ),
        (("sessions", "history", "-s", "nobody"), 4, "there is no session 'nobody', live or closed\n"),
        (("sessions", "show", "-s", "k"), 4, "closed, `trio-broker sessions history -s KEY` shows"),
        (("logs", "-s", "k"), 4, "closed, `trio-broker sessions history -s KEY` shows"),
        (("set", "-s", "k"), 4, "closed, `trio-broker sessions history -s KEY` shows"),
        (("sessions", "delete", "-s", "nobody"), 4, "there is no session 'nobody'"),
        (("wait", "-s", "nobody"), 4, "there is no session 'nobody'"),
        (("watch", "-s", "nobody"), 4, "there is no session 'nobody'"),
    ],
)
def test_a_mistake_is_told_with_what_to_do(home: Home, words: tuple[str, ...], code: int, says: str) -> None:
    assert home.run("up").returncode == 0
    done = home.run(*words)
    assert (done.returncode, says in done.stderr) == (code, True), done.stderr


def test_json_of_what_is_taken_in_and_forgotten(home: Home, tmp_path: Path) -> None:
    home.run("prompt", "say hi", "-s", "k")
    home.run("sessions", "export", "-s", "k", "-o", "k.ndjson", cwd=tmp_path)
    assert home.json("sessions", "delete", "-s", "k") == {"action": "session_forgotten", "key": "k"}
    done = home.run("sessions", "import", "k.ndjson", "--format", "json", cwd=tmp_path)
    assert json.loads(done.stdout)["action"] == "session_imported"
    pruned = home.json("sessions", "prune", "--older-than", "30d")
    assert pruned == {"action": "sessions_pruned", "deleted": 0}


def test_a_bad_file_is_not_imported(home: Home, tmp_path: Path) -> None:
    file = tmp_path / "bad"
    file.write_text("no export\n", encoding="utf-8")
    done = home.run("sessions", "import", str(file))
    assert done.returncode == 1 and "line 1 is not what `sessions export` writes" in done.stderr


def test_a_file_that_is_no_text_is_not_imported(home: Home, tmp_path: Path) -> None:
    (tmp_path / "bad").write_bytes(b"\xff\xfe")
    done = home.run("sessions", "import", "bad", cwd=tmp_path)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "bad is not what `sessions export` writes: it is no UTF-8" in done.stderr


def test_a_session_of_any_length_is_imported_whole_or_not_at_all(tmp_path: Path) -> None:
    """All its lines were one message, which a broker refuses above `max_line`."""
    update = json.dumps({"update": {"content": {"type": "text", "text": "x" * 1000}}})
    lines = [
        json.dumps(
            {"trio-broker": 1, "key": "k", "session_id": "big", "meta": {}, "updated_at": 1, "last": 3000}
        )
    ]
    lines += [
        json.dumps({"first": first, "count": 10, "at": 1.0, "kind": "update", "data": [update] * 10})
        for first in range(1, 3000, 10)
    ]
    whole = "".join(f"{line}\n" for line in lines)
    with Home(f"[broker]\nmax_line = {1 << 16}") as home:
        for wrong, says in ((whole[:-20000], "line 300 "), (f"{whole}\n", "line 302 is not")):
            done = home.run("sessions", "import", "-", input=wrong)
            assert done.returncode == 1 and says in done.stderr
            assert home.run("sessions", "history", "--id", "big").returncode == 4
        done = home.run("sessions", "import", "-", input=whole)
        assert (done.returncode, done.stderr) == (0, "301 lines imported\n")
        exported = home.run("sessions", "export", "--id", "big").stdout
        assert exported.splitlines()[1:] == lines[1:]
        done = home.run("sessions", "import", "/dev/zero")
        assert done.returncode == 2 and "line 1 of /dev/zero does not go into one message" in done.stderr


def test_what_is_exported_can_be_imported_whatever_ends_a_line_elsewhere(home: Home, tmp_path: Path) -> None:
    home.run("prompt", "say a\u2028b\u0085c", "-s", "k")
    assert home.run("sessions", "export", "-s", "k", "-o", "k.ndjson", cwd=tmp_path).returncode == 0
    home.run("sessions", "delete", "-s", "k")
    done = home.run("sessions", "import", "k.ndjson", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert home.run("sessions", "history", "-s", "k", "--format", "quiet").stdout == "a\u2028b\\x85c\n"


def test_an_export_to_where_nothing_can_be_written_says_so(home: Home) -> None:
    home.run("sessions", "new", "-s", "k")
    done = home.run("sessions", "export", "-s", "k", "-o", "/no/such/place")
    assert (done.returncode, done.stdout) == (1, "") and "Traceback" not in done.stderr
    assert "'/no/such/place': No such file or directory" in done.stderr


def test_watch_follows_from_any_number_until_it_is_closed(home: Home) -> None:
    assert home.run("fake", "-s", "k", "say one").returncode == 0
    watching = home.start("watch", "-s", "k", "--since", "1", "--format", "json")
    eventually(lambda: home.session("k")["clients"] == 1)
    assert home.run("fake", "-s", "k", "say two").returncode == 0
    assert home.run("sessions", "close", "-s", "k").returncode == 0
    output, errors = watching.communicate(timeout=LIMIT)
    assert watching.returncode == 0, errors
    messages = [json.loads(line) for line in output.splitlines()]
    texts = [
        m["params"]["update"]["content"]["text"] for m in messages if m.get("method") == "session/update"
    ]
    assert texts == ["one", "two"] and next(m["seq"] for m in messages if "seq" in m) == 1


def test_wait_gives_up_with_code_3(home: Home) -> None:
    assert home.run("fake", "-s", "k", "hang", "--no-wait").returncode == 0
    home.until("k", "working")
    done = home.run("wait", "-s", "k", "--timeout", "0.2")
    assert done.returncode == 3 and "within 0.2 s" in done.stderr
    assert home.run("cancel", "-s", "k").returncode == 0
    assert home.run("wait", "-s", "k").stderr == "session k is idle\n"


def test_orphans_needs_no_broker_and_finds_none_where_all_is_well(home: Home) -> None:
    assert home.run("orphans").stderr == "0 orphans\n"
    assert home.run("fake", "-s", "k", "say one").returncode == 0
    assert home.json("orphans") == {"orphans": [], "ended": 0}, "those of a living broker are none"


@pytest.mark.slow
def test_a_journal_that_fails_is_told_loudly_and_sessions_go_on(home: Home) -> None:
    assert home.run("fake", "-s", "k", "say one").returncode == 0
    journal = home.path / "state" / "journal.sqlite"
    with sqlite3.connect(journal, isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")  # as long as this lasts, nobody else can write
        assert home.run("fake", "-s", "k", "say two", "--format", "quiet").stdout == "two\n"
        assert "THE JOURNAL FAILS, sessions go on without it" in home.run("status").stdout
        other.execute("ROLLBACK")
    other.close()
    eventually(lambda: home.status()["journal"]["failing"] is None)
    assert home.run("sessions", "history", "-s", "k", "--format", "quiet").stdout == "one\ntwo\n"


def test_a_broker_that_an_agent_starts_is_not_the_agents(home: Home) -> None:
    marked = {"TRIO_BROKER_INSTANCE": "0123456789abcdef-x", "TRIO_BROKER_SESSION": "k"}
    assert home.run("up", env=marked).returncode == 0
    environment = Path(f"/proc/{home.status()['pid']}/environ").read_bytes()
    assert b"TRIO_BROKER_HOME=" in environment and not any(name.encode() in environment for name in marked)
