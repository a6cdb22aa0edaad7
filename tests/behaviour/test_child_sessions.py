"""What a subagent asks and does under an id of its own, as people see it in `prompt`, `pending`, `history`, `watch`."""

from __future__ import annotations

from pathlib import Path

from trio_broker.testing.processes.home import LIMIT, Home, eventually


def test_a_childs_request_reaches_a_person_and_its_work_is_shown_as_its_own(
    shared: Home, tmp_path: Path
) -> None:
    with shared.start("prompt", "ask-child edit it", "-s", "parent", "--ask", cwd=tmp_path) as process:
        shared.until("parent", "waiting")
        (ask,) = [one for one in shared.json("pending")["asks"] if one["key"] == "parent"]
        assert (ask["childSessionId"], ask["title"], ask["kind"]) == ("child-1", "edit it", "edit")
        assert shared.run("allow", ask["askId"]).returncode == 0
        stdout, stderr = process.communicate(timeout=LIMIT)
    assert process.returncode == 0
    assert "[child] child-1: edit it (" in stderr and "the child got" not in stdout
    history = shared.run("sessions", "history", "-s", "parent").stdout
    assert "child    child-1: tool: edit it (completed)\n" in history
    assert "child    child-1: text: the child got allow\n" in history
    assert "edit it: Allow, by owner (client-" in history
    assert shared.run("sessions", "history", "-s", "parent", "--format", "quiet").stdout == "allow\n"
    with shared.start("watch", "-s", "parent", "--since", "1") as watching:
        eventually(lambda: (shared.session("parent") or {}).get("clients") == 1)
        assert shared.run("sessions", "close", "-s", "parent").returncode == 0
        _, said = watching.communicate(timeout=LIMIT)
    assert "[child] child-1: edit it (" in said


def test_a_policy_decides_for_a_child(shared: Home, tmp_path: Path) -> None:
    done = shared.run("prompt", "ask-child edit it", "-s", "approved", "--approve-all", cwd=tmp_path)
    assert done.returncode == 0 and "allow" in done.stdout
    assert (shared.session("approved") or {})["foreign"] == 0
