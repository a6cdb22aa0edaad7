"""The scripted agent's JSON-RPC over stdin and stdout: malformed input, no reader, and the log of lines."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from trio_broker.testing.processes.agent_process import (
    LIMIT,
    SCRIPTED_AGENT,
    open_scripted_agent,
)


def test_it_ends_when_nobody_reads_what_it_says() -> None:
    with subprocess.Popen(SCRIPTED_AGENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdout.close()
        process.stdin.write(b'{"jsonrpc":"2.0","id":1,"method":"_echo"}\n')
        process.stdin.flush()
        assert process.wait(LIMIT) == 1


def test_nonsense_is_answered_and_survived() -> None:
    with open_scripted_agent() as agent:
        agent.write(b"{\n\n5\n")
        assert [agent.message()["error"]["code"], agent.message()["error"]["code"]] == [-32700, -32600]
        agent.notify("session/cancel", sessionId="none")
        agent.notify("$/nothing")
        agent.send(id=99, result={})
        agent.start()


def test_the_log_lets_spawns_and_frames_be_counted(tmp_path: Path) -> None:
    log = tmp_path / "log"
    for _ in range(2):
        with open_scripted_agent("--log", str(log)) as agent:
            agent.start()
            agent.turn("say x")
    lines = [line.split(" ", 1) for line in log.read_text().splitlines()]
    assert len({pid for pid, _ in lines}) == 2
    assert [json.loads(frame)["method"] for _, frame in lines][:3] == [
        "initialize",
        "session/new",
        "session/prompt",
    ]
