"""The session that a command acts on: by key, agent and work tree. Options that do not fit it are refused."""

from __future__ import annotations

from pathlib import Path

from trio_broker.testing.processes.home import Home


def test_what_is_said_of_a_session_that_is_there_has_to_fit(shared: Home, tmp_path: Path) -> None:
    """--cwd, an agent and a policy were ignored, and the prompt went to the session, wherever it worked."""
    here, other = tmp_path / "here", tmp_path / "other"
    for directory in (here / ".git", here / "deep", other):
        directory.mkdir(parents=True)
    assert shared.run("prompt", "-s", "placed", "--cwd", str(here), "say one").returncode == 0
    works = f"trio-broker: session 'placed' works in {here}, not in {other}; leave out --cwd, or choose another key\n"
    for words in (
        ("prompt", "say two"),
        ("prompt", "--no-wait", "say two"),
        ("cancel",),
        ("logs",),
        ("wait",),
        ("queue", "list"),
        ("set",),
        *(
            ("sessions", verb)
            for verb in ("ensure", "show", "history", "export", "delete", "restart", "close")
        ),
    ):
        done = shared.run(*words, "-s", "placed", "--cwd", str(other))
        assert (done.returncode, done.stdout, done.stderr) == (2, "", works), words
    assert shared.run("sessions", "history", "-s", "placed", "--format", "quiet").stdout == "one\n"
    fitting = shared.run(
        "prompt", "-s", "placed", "--cwd", str(here / "deep"), "say two", "--format", "quiet"
    )
    assert fitting.stdout == "two\n", "the session of that work tree"
    assert shared.run("prompt", "-s", "placed", "say three", cwd=other).returncode == 0, (
        "a key is known anywhere"
    )
    done = shared.run("cancel", "-s", "placed", "-a", "demo")
    assert done.returncode == 2 and "session 'placed' belongs to agent 'fake', not 'demo'" in done.stderr
    done = shared.run("sessions", "ensure", "-s", "placed", "--approve-all")
    assert (
        done.returncode == 2
        and "'placed' is there already, with the policy approve-reads; give --approve-all" in done.stderr
    )
    assert shared.run("sessions", "ensure", "-s", "placed", "--approve-reads").returncode == 0
    done = shared.run("sessions", "history", "-s", "placed", "--id", "x")
    assert (
        done.returncode == 2 and "--id names the session: leave out -s, -a and --cwd beside it" in done.stderr
    )


def test_a_session_that_never_began_is_replaced_wherever_it_was(shared: Home, tmp_path: Path) -> None:
    assert shared.run("sessions", "ensure", "-s", "dud", "--command", "false", "--cwd", "/").returncode == 1
    assert shared.session("dud")["phase"] == "dead"
    made = shared.json("sessions", "ensure", "-s", "dud", "--cwd", str(tmp_path))
    assert made["created"] and made["cwd"] == str(tmp_path)


def test_the_session_of_a_directory_is_that_of_its_work_tree(shared: Home, tmp_path: Path) -> None:
    """Up to the git root; another work tree within, one whose .git is a file, has its own."""
    (tmp_path / "repo" / ".git").mkdir(parents=True)
    deep = tmp_path / "repo" / "src" / "deep"
    deep.mkdir(parents=True)
    inner = tmp_path / "repo" / "inner"
    inner.mkdir()
    (inner / ".git").write_text("gitdir: elsewhere\n", encoding="utf-8")
    link = tmp_path / "link"
    link.symlink_to(deep)
    places = {
        where: shared.run("prompt", "cwd", "--format", "quiet", cwd=where).stdout
        for where in (deep, inner, link)
    }
    assert places == {
        deep: f"{tmp_path / 'repo'}\n",
        inner: f"{inner}\n",
        link: f"{tmp_path / 'repo'}\n",
    }
    keys = [one["key"] for one in shared.status()["sessions"] if str(tmp_path) in one["key"]]
    assert keys == [f"fake:{tmp_path / 'repo'}", f"fake:{inner}"]
    by_option = shared.run("prompt", "cwd", "--cwd", str(deep), "--format", "quiet")
    assert by_option.stdout == f"{tmp_path / 'repo'}\n"


def test_each_agent_has_its_own_session_of_a_directory(shared: Home, tmp_path: Path) -> None:
    shared.run("fake", "sessions", "ensure", cwd=tmp_path)
    shared.run("sessions", "ensure", "-a", "demo", cwd=tmp_path)
    views = shared.json("sessions", "list", "--cwd", str(tmp_path))["sessions"]
    assert {(view["key"], view["agent"]) for view in views} == {
        (f"fake:{tmp_path}", "fake"),
        (f"demo:{tmp_path}", "demo"),
    }
    one = shared.json("sessions", "list", "--cwd", str(tmp_path), "-a", "demo")["sessions"]
    assert [view["agent"] for view in one] == ["demo"]


def test_a_key_belongs_to_its_agent(shared: Home, tmp_path: Path) -> None:
    """RACES B15."""
    shared.run("sessions", "ensure", "-s", "taken", cwd=tmp_path)
    done = shared.run("prompt", "-a", "demo", "-s", "taken", "hi", cwd=tmp_path)
    assert done.returncode == 2
    assert "belongs to agent 'fake', not 'demo'; choose another key, or close it first" in done.stderr
    assert shared.run("prompt", "-s", "taken", "say fine", cwd=tmp_path).returncode == 0
