"""The Python SDK's client on an agent's stdio, nothing between. python client.py AGENT PROMPT COUNT"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from typing import Any

import acp


class Counting(acp.Client):
    def __init__(self) -> None:
        self.updates = self.lost = 0

    async def session_update(self, session_id: str, update: Any, **_: Any) -> None:  # noqa: ASYNC124  # the SDK's
        self.lost += int(update.content.text[4:12]) != self.updates
        self.updates += 1


def cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def main(agent: str, prompt: str, count: int) -> None:
    client = Counting()  # type: ignore[abstract]  # of the rest nothing is called
    async with acp.spawn_agent_process(client, agent) as (connection, process):
        await connection.initialize(protocol_version=1)
        session = await connection.new_session(cwd="/", mcp_servers=[])
        begun, used = time.perf_counter(), cpu()
        await connection.prompt(session_id=session.session_id, prompt=[acp.text_block(prompt)])
        while client.updates < count:  # noqa: ASYNC110  # the SDK may answer before it has handed out the last ones
            await asyncio.sleep(0.001)
        seconds = time.perf_counter() - begun
        facts = {"updates": client.updates, "lost": client.lost, "foreign": 0, "seconds": seconds}
        print(json.dumps(facts | {"per_s": client.updates / seconds, "cpu": cpu() - used}))
        process.terminate()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
