"""The dashboard, `trio-broker top`: it shows the sessions of a broker in a terminal, and turns keys into calls.

This folder owns what the dashboard knows, how that is drawn, and what each key does. It must not know how a broker
works or where it runs: all that it has is a `client.Client`. Except for `terminal` and `app`, nothing here does I/O:
values go in, values come out. Read `state` first, then `transcript`, `input`, `actions` and `keymap`, which change the
state; `text`, `overview`, `detail` and `screen`, which draw it; `terminal` and `app`, which run it all. `question/` has
what belongs to the questions of agents: what a person sees of them, and when a key answers one.
"""
