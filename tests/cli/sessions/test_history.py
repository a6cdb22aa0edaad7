"""`sessions history | export | import | prune | delete`."""

from __future__ import annotations

import json
from pathlib import Path

from trio_broker.testing.processes.home import Home


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
    assert home.run("sessions", "history", "-s", "k", "--format", "quiet").stdout == "a\\u2028b\\x85c\n"


def test_an_export_to_where_nothing_can_be_written_says_so(home: Home) -> None:
    home.run("sessions", "new", "-s", "k")
    done = home.run("sessions", "export", "-s", "k", "-o", "/no/such/place")
    assert (done.returncode, done.stdout) == (1, "") and "Traceback" not in done.stderr
    assert "'/no/such/place': No such file or directory" in done.stderr
