"""trio-broker: one daemon that owns a team's ACP agents and lets many clients share them."""

__version__ = "0.1.0"
