"""A broker takes up its configuration anew, for what is started from now on; what is live keeps what it began with."""

from __future__ import annotations

import attrs

from trio_broker.broker.broker import Broker
from trio_broker.broker.notify import Hook
from trio_broker.config.config import Config

AT_START = ("listen", "journal")  # tables that hold as they were when the broker began


def take_up(broker: Broker, read: Config) -> list[str]:
    """Have it hold; gives the tables that have changed and wait for the next start."""
    kept = {name: getattr(broker.config, name) for name in AT_START}
    config = attrs.evolve(read, **kept)
    broker.config = broker.registry.config = config
    broker.registry.starting.total_tokens = config.broker.max_starting
    broker.pool.limit = config.broker.max_sessions
    broker.hook = Hook(config.policy.notify)
    return [name for name, value in kept.items() if getattr(read, name) != value]
