"""An agent with logins in a terminal. Its account is the content of a file `account` in the directory ACCOUNTS.

    login_agent.py [--says auth/status | update | nothing] [--methods JSON] [--late]

With `--login` it runs a login instead: it asks for a name on the terminal. `--late`: as some agents do, it opens a
session without a login, and refuses the prompt. Names beginning with `exit ` make the login fail with that code.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

ACCOUNT = Path(os.environ.get("ACCOUNTS", "/nonexistent")) / "account"
AUTH_REQUIRED = {"code": -32000, "message": "Authentication required"}
METHODS = [
    {"id": "browser", "name": "Browser", "type": "terminal", "args": ["--login"], "env": {"BY": "browser"}},
    {"id": "console", "name": "Console", "type": "terminal", "args": ["--login", "--quick"], "env": None},
    {"id": "odd", "name": "Odd", "type": "terminal", "args": "--login"},
    {"id": "other", "name": "Its own window"},
]


def option(name: str) -> str | None:
    return sys.argv[sys.argv.index(name) + 1] if name in sys.argv else None


def log_in() -> None:
    facts = [f"{name}={os.environ.get(name)}" for name in ("BY", "TERM", "BROWSER", "KEY_OF_CALLER")]
    try:
        sys.stdout.write(f"login {' '.join(sys.argv[1:])} {' '.join(facts)} pid={os.getpid()}\nname: ")
        sys.stdout.flush()
        name = sys.stdin.readline().strip()
    except KeyboardInterrupt:
        sys.stdout.write("interrupted\n")
        sys.exit(7)
    if name.startswith("exit "):
        sys.exit(int(name.removeprefix("exit ")))
    if name:
        ACCOUNT.write_text(name, encoding="utf-8")


def account() -> str | None:
    return ACCOUNT.read_text(encoding="utf-8") if ACCOUNT.exists() else None


def status() -> dict[str, Any]:
    name = account()
    if name is None:
        return {"state": "unauthenticated"}
    accounts = [{"label": "Old"}, {"label": "Max", "email": name, "active": True}]
    return {"state": "authenticated", "accounts": accounts}


def answer(asked: dict[str, Any]) -> dict[str, Any]:
    method, says = asked["method"], option("--says")
    if method == "initialize":
        client = asked["params"]["clientCapabilities"].get("auth", {}).get("terminal")
        methods = json.loads(option("--methods") or json.dumps(METHODS)) if client else []
        capabilities: dict[str, Any] = {"auth": {"status": {}}} if says == "auth/status" else {}
        return {"result": {"protocolVersion": 1, "agentCapabilities": capabilities, "authMethods": methods}}
    if method == "session/new" and (account() or "--late" in sys.argv):
        return {"result": {"sessionId": f"s{os.getpid()}"}}
    if method == "session/prompt" and account():
        return {"result": {"stopReason": "end_turn"}}
    if method == "auth/status":
        return {"result": status()}
    return {"error": AUTH_REQUIRED}


def serve() -> None:
    for line in sys.stdin:
        asked = json.loads(line)
        if option("--says") == "update" and asked["method"] == "session/new":
            send({"method": "_auth/status_update", "params": status()})
        send({"id": asked["id"], **answer(asked)})


def send(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    log_in() if "--login" in sys.argv else serve()
