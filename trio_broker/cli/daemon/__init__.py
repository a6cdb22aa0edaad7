"""The commands of an operator: run and stop the daemon, check this machine, write and check the configuration.

Owns the checks of `doctor` and the text of a new configuration file. It must not know prompts or turns. Read `serve`
(serve, up, down), `orphans`, `config` (the group), `config_check` (errors and warnings of a file), `doctor`.
"""
