"""The harness: what tests of agents, of clients and of brokers are made of. The names here are its public interface.

A broker in this process:

* `open_rig(config, habits, spawn, journal)`: a broker whose agents live in memory, a `Rig`; hours pass in no time with
  an autojump clock. `settings(queue=2)` is a configuration. `rig.connect()` is a client, a `User`;
  `rig.connect(allow)` says yes to whatever agents ask.
* `Habits`, `MemoryAgent`, `MemoryAgents`: those agents, what they do, and what they have heard and said.
* `open_web(rig)`: its WebSocket, a `Web`. `open_real()`: a broker here with agents that are processes.
* `assert_sound(rig)`: every promise of the broker that can be looked at from inside; `broken(rig)` has the sentences.

As programs:

* `fake("--load")`: the command of the scripted agent; a prompt's text is what it does (`say hello; wait 1; die 3`).
* `Home()`: a broker as a person uses it: `home.run("status")`, `home.terminal(…)`, `home.status()`.
* `visit(home)`: a client of its daemon. `open_agent(command)`: any agent's stdin and stdout, a stream.

On any stream:

* `Play`, with `request`, `notification` and `Blank`: a written exchange. `Unplayed` says where it went another way.
* `Faulty(stream, receiving=Fault(…))`: cut, stalled, slow, in pieces. `slowly`, `never`, `refused`, `stillborn`: what
  can go wrong with a spawn.
* `sweep(scenario)`: cancelled at every step.

All of this is imported when it is first used. The fixtures of the pytest plugin are in `trio_broker.testing.plugin`.

The folders, in the order to read them: `scripted_agent` is the program of `fake`, and `agent` starts it. `clients` has
what sends and receives, `processes` the daemons and agents that are started, and `in_process` the broker of `open_rig`.
`check` and `chaos` are the commands of these names. The harness must not know the command line or the dashboard.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trio_broker.testing.clients.play import Blank as Blank
    from trio_broker.testing.clients.play import Play as Play
    from trio_broker.testing.clients.play import Unplayed as Unplayed
    from trio_broker.testing.clients.play import notification as notification
    from trio_broker.testing.clients.play import request as request
    from trio_broker.testing.clients.user import User as User
    from trio_broker.testing.clients.user import allow as allow
    from trio_broker.testing.in_process.faults import Fault as Fault
    from trio_broker.testing.in_process.faults import Faulty as Faulty
    from trio_broker.testing.in_process.faults import never as never
    from trio_broker.testing.in_process.faults import refused as refused
    from trio_broker.testing.in_process.faults import slowly as slowly
    from trio_broker.testing.in_process.faults import stillborn as stillborn
    from trio_broker.testing.in_process.invariants import assert_sound as assert_sound
    from trio_broker.testing.in_process.invariants import broken as broken
    from trio_broker.testing.in_process.memory_agent import Habits as Habits
    from trio_broker.testing.in_process.memory_agent import MemoryAgent as MemoryAgent
    from trio_broker.testing.in_process.memory_agent import MemoryAgents as MemoryAgents
    from trio_broker.testing.in_process.rig import Rig as Rig
    from trio_broker.testing.in_process.rig import open_real as open_real
    from trio_broker.testing.in_process.rig import open_rig as open_rig
    from trio_broker.testing.in_process.rig import settings as settings
    from trio_broker.testing.in_process.sweep import sweep as sweep
    from trio_broker.testing.in_process.websocket import Web as Web
    from trio_broker.testing.in_process.websocket import open_web as open_web
    from trio_broker.testing.processes.agents import fake as fake
    from trio_broker.testing.processes.agents import open_agent as open_agent
    from trio_broker.testing.processes.daemon import visit as visit
    from trio_broker.testing.processes.home import Home as Home

_PUBLIC = {
    "clients.play": "Blank Play Unplayed notification request",
    "clients.user": "User allow",
    "in_process.faults": "Fault Faulty never refused slowly stillborn",
    "in_process.invariants": "assert_sound broken",
    "in_process.memory_agent": "Habits MemoryAgent MemoryAgents",
    "in_process.rig": "Rig open_real open_rig settings",
    "in_process.sweep": "sweep",
    "in_process.websocket": "Web open_web",
    "processes.agents": "fake open_agent",
    "processes.daemon": "visit",
    "processes.home": "Home",
}
_WHERE = {name: module for module, names in _PUBLIC.items() for name in names.split()}
__all__ = sorted(_WHERE)  # noqa: PLE0605  # computed


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return __all__
