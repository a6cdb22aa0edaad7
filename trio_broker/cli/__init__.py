"""The command line: a folder for each group of commands, and beside the folders the modules that several groups share.

It owns what a user types and sees. It reaches the broker only through `client` and its blocking form, `once`: a command
cannot do anything that a client cannot do. Only `daemon.serve` runs the daemon, and imports it when it is called. A
group imports the shared modules and no other group, with one exception: a prompt in `daily` shows permission requests
with `permissions.terminal`. The module of a command is imported when it is called, so quick commands start quickly.

Read `app` (the table of commands, and `main`), `state` (the object that every command gets), `options`,
`session_target`, `session_settings`, `events`, `output`, `error_output`, `background` (the start of a daemon in the
background), `completion_values` and `completion`; then the folders `daily`, `sessions`, `permissions`, `agents`,
`daemon`, `remote`, `testing`.
"""

from trio_broker.cli.app import main as main
