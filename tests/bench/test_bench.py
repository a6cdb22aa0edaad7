"""The bench works, and no update of any of its runs is lost, repeated or reordered. Nothing here depends on a time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PARTS = ("throughput", "echo", "status", "many", "fan-out", "replay")


@pytest.mark.slow
def test_without_a_compiler_it_works_all_the_same() -> None:
    argv = [sys.executable, "-m", "tests.bench", "--short", "--no-peers", "--no-cc", "--only", "echo"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0 and "agent and client are in Python" in done.stdout, done.stderr


@pytest.mark.slow
def test_a_short_bench_counts_and_orders_every_update() -> None:
    argv = [sys.executable, "-m", "tests.bench", "--short", "--json", "--no-peers"]
    for part in PARTS:
        argv += ["--only", part]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    found = json.loads(done.stdout)
    for row in found["rows"]:
        print(f"{row['measure']}: {row['measured']} {row['ratio']}")
    values = found["values"]
    assert values["sessions_20"]["updates"] == 20_000
    assert values["fan_out_5"]["flood"]["updates"] == 5 * 2000
    assert values["fan_out_5"]["tick"]["updates"] == 5 * 200
    assert len(values["updates_per_second"]["pipe"]) == 1
    last = found["rows"][-1]
    assert (last["measure"], last["measured"]) == ("updates lost, repeated or reordered, in any run", "0")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("agent", "fault"),
    [("{0}; {0}", "repeated"), ("{1}; {0}", "reordered"), ("{1}", "lost"), ("{2}; {0}", "another session's")],
)
def test_the_client_finds_what_is_not_in_its_place(agent: str, fault: str, tmp_path: Path) -> None:
    from tests.bench.tools import Failed, Tools

    tools = Tools(tmp_path)
    update = (
        'echo \'{{"jsonrpc":"2.0","method":"session/update","params":{{"sessionId":"{0}","update":'
        '{{"sessionUpdate":"agent_message_chunk","content":{{"type":"text","text":"seq {1} x"}}}}}}}}\''
    )
    said = agent.format(
        update.format("s", "00000000"), update.format("s", "00000001"), update.format("t", "00000000")
    )
    liar = tmp_path / "liar"
    liar.write_text(
        "#!/bin/sh\n"
        'read x; echo \'{"jsonrpc":"2.0","id":1,"result":{}}\'\n'
        'read x; echo \'{"jsonrpc":"2.0","id":1000,"result":{"sessionId":"s"}}\'\n'
        f'read x; {said}; echo \'{{"jsonrpc":"2.0","id":100000,"result":{{}}}}\'\n'
    )
    liar.chmod(0o755)
    with pytest.raises(Failed, match="lost, repeated, reordered or mixed up"):
        tools.client(f"exec:{liar}")
