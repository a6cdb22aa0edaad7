"""The command line. It uses `client` only: what it can't do through that, nobody can."""

from trio_broker.cli.app import main as main
