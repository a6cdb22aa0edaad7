"""The configuration: files and environment variables to frozen values.

This folder owns the settings, their defaults and the sentences about wrong ones. It starts nothing, has no Trio and
does not know who reads a setting. Read `paths` first (where the files are), then `config` (every setting), then
`validation` (how a TOML table becomes a class, and how an error names its key).
"""
