"""The commands for agents: list, show, test, log in, install and remove them. No broker needs to run.

Owns the installation of packages with npm and pip, and the report about a test start. It must not know sessions or
prompts. Read `agents` (the group and its commands), `install`, `probe`, `login`.
"""
