"""Brokers and agents as processes of their own, in real time.

The folder owns how tests start such processes, look at them, and leave none behind. It must not know what a test wants
from a broker, only how to reach one. Read `home` first: a broker as a person uses it, by its command.
"""
