"""Brokers and agents as processes of their own, in real time.

The folder owns how tests start such processes, look at them, and leave none behind. It must not import the broker: it
uses the command `trio-broker` and its socket. Read `home` first: a broker as a person uses it. `daemon` adds clients,
`agents` starts agents alone. `watchdog` is a program that cleans up after a test run that was killed.
"""
