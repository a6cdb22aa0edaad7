"""The configuration file that `config init` writes: every setting with its default, as a comment.

`tests/cli/daemon/test_init.py` holds it to the settings there are.
"""

from __future__ import annotations

SAMPLE = """\
# Settings of trio-broker. Times are seconds, sizes bytes. A setting that is commented out has the value shown.
# `trio-broker config check` tells every mistake in this file; the broker reads it when it starts.

# The agent of commands that name none; `trio-broker agents list` shows all.
#default_agent = "demo"

[broker]
#max_sessions = 1000            # sessions that live at once
#max_starting = 8               # of them, those that start at once; the others wait their turn
#queue = 16                     # prompts that wait for one session
#idle_ttl = 0.0                 # suspends sessions that did nothing for so long; 0 is never
#quiet_after = 0.0              # an agent that said nothing for so long in its turn; 0 is never
#on_quiet = "say"               # then: say so in the log, or cancel the turn
#max_turn = 0.0                 # the longest that a turn may take; 0: as long as it takes
#liveness = 5.0                 # how often a quiet agent's process is looked at
#cancel_grace = 30.0            # for an agent to heed a cancel, before it is ended
#close_grace = 5.0              # from the close of its stdin to SIGTERM
#term_grace = 5.0               # and from there to SIGKILL
#start_timeout = 120.0          # for an agent to get as far as a session; npx may fetch it first
#max_line = 67108864            # one message
#stderr_ring = 65536            # kept of an agent's stderr
#max_clients = 256              # connections
#restart = "lazy"               # an agent that crashed: lazy (for the next prompt), eager (at once), never

[policy]
#default = "ask"                # who answers permission questions: ask, approve-all, approve-reads, deny-all
#unattended = "hold"            # when nobody is there: hold the question, or deny
#expire = 0.0                   # refuses a question that nobody answered for so long; 0 is never
#notify = []                    # a command that is run when a question finds nobody there

# Rules come before the default; the first that fits decides. kind, title, path: all that are given have to fit.
#[[policy.rules]]
#kind = ["read", "search"]
#path = "~/projects"
#action = "allow"               # allow, deny, ask

[listen]
#websocket = "127.0.0.1:8765"   # also listen there; clients need a token: `trio-broker token new`
#insecure_bind = false          # let other machines in without TLS: their tokens can be read
#tls_cert = "/path/to/cert.pem"
#tls_key = "/path/to/key.pem"
#origins = []                   # web pages that may connect, such as "https://team.example"
#hosts = []                     # other names that this broker goes by
#compression = false
#max_per_token = 64             # connections of one token
#max_handshakes = 64            # connections that have not said who they are
#max_in_flight = 1000           # requests of one connection that are not answered yet
#initialize_timeout = 30.0      # for a connection to begin

[journal]
#durability = "turn"            # on disk before a turn's end is told; full: through a power cut too; off: some time
#keep_days = 90.0               # closed sessions are forgotten after that; 0 is never
#keep_bytes = 268435456         # of one session's log; the oldest events go first; 0 keeps everything

# An agent of your own, or a known one started otherwise. It gets HOME, PATH, USER, LANG, TERM, and what is named here.
#[agents.mine]
#command = ["my-agent", "--acp"]
#args = []
#inherit_env = ["MY_API_KEY"]   # by name, from the broker's environment
#env = { MODE = "fast" }
#cwd = "~/agents"               # default: the session's own directory
#start_timeout = 300.0
"""
