"""A daemon with its log, its clients over both transports, and its end."""

from __future__ import annotations

import trio

from trio_broker.testing.processes.agents import agent_pid
from trio_broker.testing.processes.daemon import (
    home_with,
    instance_tag,
    serving,
    visit,
    visit_web,
    wait_exit,
    wait_queue_length,
)
from trio_broker.testing.processes.home import CONFIG, Home, is_running


async def test_it_serves_clients_and_ends_when_it_is_terminated() -> None:
    with trio.fail_after(60), home_with(term_grace=1) as home, serving(home) as daemon:
        async with visit(home) as user:
            session = await user.open("k", agent="demo")
            assert await user.prompt(session, "say hello") == "end_turn" and user.said(session) == "hello"
            pid = await agent_pid(user, "k")
            assert is_running(pid) and instance_tag(home)
            user.later(user.prompt, session, "hang")
            await user.wait_phase("k", "working")
            await user.submit(session, "say later")
            await wait_queue_length(user, "k", 1)
        daemon.terminate()
        assert await wait_exit(daemon) == 0, home.log
        assert not is_running(pid)


async def test_a_client_over_the_websocket_has_a_token_for_as_long_as_it_stays() -> None:
    config = f'{CONFIG}\n[listen]\nwebsocket = "127.0.0.1:0"\n'
    with trio.fail_after(60), Home(config) as home, serving(home):
        async with visit_web(home) as user, visit(home) as owner:
            assert (await user.status())["clients"] >= 2
            assert len((await owner.call("_trio_broker/tokens"))["tokens"]) == 1
        async with visit(home) as owner:
            assert (await owner.call("_trio_broker/tokens"))["tokens"] == []
