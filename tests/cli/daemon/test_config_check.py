"""`config check`: errors and warnings of a configuration file."""

from __future__ import annotations

from trio_broker.testing.processes.home import Home

WRONG = """
default_agnet = "x"

[broker]
queue = "many"
term_grace = -1

[policy]
default = "perhaps"

[agents.a]
args = "--acp"

[agents.b]
command = ""
colour = "red"
"""


def test_check_tells_every_mistake_with_file_key_and_what_was_expected(home: Home) -> None:
    home.config.write_text(WRONG, encoding="utf-8")
    done = home.run("config", "check")
    assert (done.returncode, done.stdout) == (2, "")
    told = [line.removeprefix("trio-broker: ") for line in done.stderr.splitlines()]
    assert all(line.startswith(f"{home.config}: ") for line in told)
    words = [line.removeprefix(f"{home.config}: ") for line in told]
    assert "default_agnet: unknown key; did you mean default_agent?" in words
    assert "broker.queue: expected a whole number, not a string 'many'" in words
    assert any(word.startswith("policy.default: expected one of ask, approve-all") for word in words)
    assert "agents.a.args: expected an array of strings, not a string '--acp'" in words
    assert any(word.startswith("agents.a.command: is missing; expected a command") for word in words)
    assert any(word.startswith("agents.b.command: expected a command") for word in words)
    assert any(word.startswith("agents.b.colour: unknown key; expected one of command") for word in words)


def told_by_check(home: Home, text: str) -> tuple[int, list[str]]:
    home.config.write_text(text, encoding="utf-8")
    done = home.run("config", "check")
    lines = [line.removeprefix("trio-broker: ") for line in done.stderr.splitlines()]
    return done.returncode, [line.replace(f"{home.config}: ", "") for line in lines]


def test_check_tells_ranges_and_what_the_machine_lacks_beside_what_does_not_fit(home: Home) -> None:
    code, told = told_by_check(
        home,
        'default_agent = "nosuch"\n[broker]\nqueue = "x"\nliveness = -1\n[policy]\nexpire = -3\n'
        '[listen]\nwebsocket = "nope"\ntls_cert = "/no/such.pem"\n'
        '[agents.a]\ncommand = "no-such-program --acp"\ncwd = "/no/such"\n[agents.b]\nenv = 3\n',
    )
    assert code == 2
    starts = [
        "warning: agents.a.cwd: there is no directory /no/such;",
        "warning: agents.a.command: no-such-program is not found;",
        "broker.queue: expected a whole number, not a string 'x'",
        "broker.liveness: expected a finite number above 0, not -1.0",
        "listen.websocket: 'nope' is no HOST:PORT, such as 127.0.0.1:8765",
        "policy.expire: expected a finite number of at least 0, not -3.0",
        "agents.b.command: is missing; expected a command",
        "agents.b.env: expected a table, not a whole number 3",
        "listen.tls_cert: /no/such.pem can't be read: No such file or directory",
        "default_agent: there is no agent 'nosuch'; ",
    ]
    assert len(told) == len(starts), told
    missing = [start for start in starts if not any(line.startswith(start) for line in told)]
    assert missing == [], told


def test_check_warns_of_what_may_be_there_in_time(home: Home) -> None:
    text = '[agents.a]\ncommand = "no-such-program"\n[policy]\nnotify = "no-such-notifier -x"\n'
    text += '[listen]\ntls_cert = "/x.pem"\n'
    code, told = told_by_check(home, text)
    assert code == 0 and [line.split(": ")[:2] for line in told] == [
        ["warning", "agents.a.command"],
        ["warning", "policy.notify"],
        ["warning", "listen.tls_cert"],
    ]
    found = home.json("config", "check")
    assert found["ok"] and len(found["warnings"]) == 3
    _, told = told_by_check(home, f'[listen]\ntls_cert = "{home.config}"\ntls_key = "/no/key.pem"\n')
    assert told == ["warning: listen.tls_key: /no/key.pem can't be read: No such file or directory"]


def test_check_tells_what_the_broker_would_not_start_with(home: Home) -> None:
    code, told = told_by_check(home, '[listen]\nwebsocket = "0.0.0.0:0"\n')
    assert code == 2 and told[0].startswith("listen.websocket: 0.0.0.0 can be reached from other machines")
    code, told = told_by_check(home, '[listen]\nwebsocket = "0.0.0.0:0"\ninsecure_bind = true\n')
    assert (code, told) == (0, [])
    code, told = told_by_check(home, 'default_agent = "a"\n[agents.a]\ncommand = ""\n')
    assert code == 2 and len(told) == 1, "a default agent that is wrong is there all the same"


def test_an_address_that_is_none_is_told_before_a_broker_is_started(home: Home) -> None:
    home.config.write_text('[listen]\nwebsocket = "nope"\n', encoding="utf-8")
    for words in (["up"], ["prompt", "hi"], ["config", "show"]):
        done = home.run(*words)
        assert done.returncode == 2 and "listen.websocket: 'nope' is no HOST:PORT" in done.stderr
    assert not home.socket.exists()


def test_check_of_a_good_file_and_of_none(home: Home) -> None:
    assert home.run("config", "check").stdout == f"{home.config}: ok, 1 agent configured\n"
    home.config.unlink()
    assert "there is none, so the defaults are in force" in home.run("config", "check").stdout
