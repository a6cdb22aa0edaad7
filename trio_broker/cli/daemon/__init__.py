"""The commands of an operator: run and stop the daemon, look after this machine, read and check the configuration.

Owns what `doctor` looks at and the text of a new configuration file. It must not know prompts or turns, and imports the
daemon itself only in `serve`, when that is called. Read `serve` (serve, up, down), `orphans`, `config` (the group),
`config_check` (errors and warnings of a file), `doctor`.
"""
