"""The scripted ACP agent: a program whose prompts are scripts, such as `say hello; wait 1; die 3`.

The folder owns the agent's process: JSON-RPC on stdin and stdout, the requests of the protocol, and the actions of a
turn. It imports the standard library only, because one test run starts hundreds of these processes. It must not know
the broker, Trio, or the other folders of `trio_broker.testing`. Read `stdio`, then `script`, `turn`, `questions`,
`tools`, `actions`, `session_store` and `agent`. `help_text` is what `--help` prints. `trio_broker/testing/agent.py`
starts the program, also by its path.
"""
