"""`prompt --no-wait`, `exec` and `cancel`."""

from __future__ import annotations

import re
from pathlib import Path

from trio_broker.testing.processes.home import CONFIG, Home, eventually, without_start_progress

ID = re.compile(r"[0-9a-f]{32}\n")


def test_exec_leaves_no_session(shared: Home, tmp_path: Path) -> None:
    shared.run("up")
    before = shared.status()["sessions"]
    for words, code in ((["say hi"], 0), (["die 1"], 1), (["hang", "--timeout", "0.2"], 3)):
        assert shared.run("exec", *words, cwd=tmp_path).returncode == code
    refused = shared.run("exec", "hi", "--command", "no-such-program", cwd=tmp_path)
    assert refused.returncode == 1
    after = shared.status()["sessions"]
    assert [view["key"] for view in after] == [view["key"] for view in before]


def test_exec_does_not_end_a_session_that_is_there(shared: Home, tmp_path: Path) -> None:
    shared.run("sessions", "ensure", "-s", "precious", cwd=tmp_path)
    done = shared.run("exec", "hi", "-s", "precious", cwd=tmp_path)
    assert done.returncode == 2
    assert "'precious' is there already, and `exec` would end it" in done.stderr
    assert shared.session("precious")["phase"] == "idle"


def test_no_wait_queues_and_comes_back_with_an_id(shared: Home, tmp_path: Path) -> None:
    first = shared.run("prompt", "hang", "--no-wait", "-s", "queue", cwd=tmp_path)
    assert ID.fullmatch(first.stdout)
    assert without_start_progress(first.stderr) == "queued in session queue: it runs next\n"
    second = shared.json("prompt", "say second", "--no-wait", "-s", "queue", "--cwd", str(tmp_path))
    assert (second["action"], second["position"], second["key"]) == ("prompt_queued", 1, "queue")
    third = shared.run("prompt", "say third", "--no-wait", "-s", "queue", "--format", "quiet", cwd=tmp_path)
    assert ID.fullmatch(third.stdout) and third.stderr == ""
    queued = shared.session("queue")["queued"]
    assert [(one["text"], one["position"]) for one in queued] == [("say second", 1), ("say third", 2)]

    gone = shared.run("cancel", "-s", "queue", "--prompt-id", second["promptId"])
    assert gone.stderr == "the queued prompt is withdrawn\n"
    assert [one["text"] for one in shared.session("queue")["queued"]] == ["say third"]
    gone = shared.run("cancel", "-s", "queue", "--prompt-id", "mistyped")
    assert "prompt 'mistyped' neither runs nor waits there; `trio-broker queue list` shows" in gone.stderr
    assert shared.run("cancel", "-s", "queue").stderr == "the running turn is cancelled\n"
    eventually(lambda: shared.session("queue")["turns"] == 2)
    assert shared.run("cancel", "-s", "queue").stderr == "nothing runs there: nothing to cancel\n"


def test_a_full_queue_is_exit_1_and_names_the_setting(home: Home) -> None:
    """RACES E7."""
    home.config.write_text(CONFIG + "[broker]\nqueue = 1\n", encoding="utf-8")
    for code in (0, 0, 1):
        done = home.run("prompt", "hang", "--no-wait")
        assert done.returncode == code
    assert "1 prompts wait for this session, the limit; wait, cancel one, or raise queue" in done.stderr
