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
    from trio_broker.testing.faults import Fault as Fault
    from trio_broker.testing.faults import Faulty as Faulty
    from trio_broker.testing.faults import never as never
    from trio_broker.testing.faults import refused as refused
    from trio_broker.testing.faults import slowly as slowly
    from trio_broker.testing.faults import stillborn as stillborn
    from trio_broker.testing.home import Home as Home
    from trio_broker.testing.invariants import assert_sound as assert_sound
    from trio_broker.testing.invariants import broken as broken
    from trio_broker.testing.memory import Habits as Habits
    from trio_broker.testing.memory import MemoryAgent as MemoryAgent
    from trio_broker.testing.memory import MemoryAgents as MemoryAgents
    from trio_broker.testing.program import open_agent as open_agent
    from trio_broker.testing.real import fake as fake
    from trio_broker.testing.real import open_real as open_real
    from trio_broker.testing.real import visit as visit
    from trio_broker.testing.rig import Rig as Rig
    from trio_broker.testing.rig import open_rig as open_rig
    from trio_broker.testing.rig import settings as settings
    from trio_broker.testing.sweeps import sweep as sweep
    from trio_broker.testing.web import Web as Web
    from trio_broker.testing.web import open_web as open_web

_PUBLIC = {
    "faults": "Fault Faulty never refused slowly stillborn",
    "home": "Home",
    "invariants": "assert_sound broken",
    "memory": "Habits MemoryAgent MemoryAgents",
    "clients.play": "Blank Play Unplayed notification request",
    "clients.user": "User allow",
    "program": "open_agent",
    "real": "fake open_real visit",
    "rig": "Rig open_rig settings",
    "sweeps": "sweep",
    "web": "Web open_web",
}
_WHERE = {name: module for module, names in _PUBLIC.items() for name in names.split()}
__all__ = sorted(_WHERE)  # noqa: PLE0605  # computed


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return __all__
