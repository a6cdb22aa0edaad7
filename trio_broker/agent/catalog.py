"""Which command line stands behind an agent's name: the configuration first, then what was installed, then a table.

Where an agent can be had as an installed program and through npx, the program is preferred if PATH has it:
npx may take many seconds for its first start, and picks up a `node_modules` of its working directory.
"""

from __future__ import annotations

import difflib
import os
import re
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence

import attrs

from trio_broker.agent.installed import InstalledAgents, Package
from trio_broker.config.config import AgentConfig, Config, ServedBy
from trio_broker.errors import Misuse, NoDefaultAgent, UnknownAgent


@attrs.frozen
class AgentSpec:
    """How to start one agent. `source` is "config", "installed", "built-in" or "command" (given on the spot).

    `may_answer`: what runs inside it has the rights of the broker's owner.
    `terminal` and `fs` say who serves its requests of that kind (DESIGN D5).
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = attrs.field(factory=dict)
    inherit_env: tuple[str, ...] = ()
    cwd: str | None = None
    start_timeout: float | None = None
    source: str = "config"
    may_answer: bool = False
    terminal: ServedBy = ServedBy.NOBODY
    fs: ServedBy = ServedBy.NOBODY

    @property
    def login_command(self) -> str:
        """The command that runs this agent's login in a terminal."""
        named = f"-- {shlex.join(self.argv)}" if self.source == "command" else shlex.quote(self.name)
        return f"trio-broker agents login {named}"


@attrs.frozen
class Builtin:
    """A known agent: its `commands`, the preferred one first, and the other names it goes by.

    `terminal`: it asks before it runs a command only where somebody else runs it.
    """

    commands: tuple[str, ...]
    aliases: tuple[str, ...] = ()
    env: Mapping[str, str] = attrs.field(factory=dict)
    inherit_env: tuple[str, ...] = ()
    terminal: bool = False

    def argv(self, path: str | None) -> tuple[str, ...]:
        """The first command whose program is on `path`, else the last: npx, or the one told as missing."""
        for command in self.commands:
            words = shlex.split(command)
            if shutil.which(words[0], path=path):
                break
        return tuple(words)


def _builtin(*commands: str, also: str = "", **env: str) -> Builtin:
    return Builtin(commands, tuple(also.split()), env)


RUNNERS = ("npx", "uvx", "bunx", "pnpx")  # they fetch what they run, which may take minutes
_DROID = {"DROID_DISABLE_AUTO_UPDATE": "true", "FACTORY_DROID_AUTO_UPDATE_ENABLED": "false"}

BUILTIN: Mapping[str, Builtin] = {
    "demo": Builtin(
        (shlex.join([sys.executable, "-m", "trio_broker", "demo-agent"]),),
        inherit_env=("TRIO_BROKER_DEMO_SPEED",),
    ),
    "claude": _builtin(
        "claude-agent-acp",
        "npx -y @agentclientprotocol/claude-agent-acp@0.101.0",
        also="claude-acp claude-agent claude-code claude-code-acp claude-agent-acp",
    ),
    "codex": _builtin("codex-acp", "npx -y @agentclientprotocol/codex-acp@2.6.0", also="codex-acp codex-cli"),
    "gemini": _builtin("gemini --acp", "npx -y @google/gemini-cli --acp", also="gemini-cli"),
    "copilot": _builtin(
        "copilot --acp --stdio",
        "npx -y @github/copilot-language-server --acp",
        also="github-copilot copilot-cli",
    ),
    "opencode": _builtin("opencode acp", "npx -y opencode-ai acp", also="open-code opencode-ai"),
    "cursor": _builtin("cursor-agent acp", also="cursor-agent"),
    "droid": _builtin("droid exec --output-format acp", also="factory-droid factory", **_DROID),
    "kimi": _builtin("kimi acp", also="kimi-cli"),
    "kilo": _builtin("kilo acp", "npx -y @kilocode/cli acp", also="kilocode kilo-code"),
    "qwen": _builtin(
        "qwen --acp", "npx -y @qwen-code/qwen-code --acp --experimental-skills", also="qwen-code"
    ),
    "qoder": _builtin("qodercli --acp", "npx -y @qoder-ai/qodercli --acp", also="qodercli qoder-cli"),
    "auggie": _builtin(
        "auggie --acp",
        "npx -y @augmentcode/auggie --acp",
        also="augment auggie-cli",
        AUGMENT_DISABLE_AUTO_UPDATE="1",
    ),
    "vibe": _builtin("vibe-acp", also="mistral-vibe mistral vibe-acp"),
    "junie": _builtin("junie --acp=true", "npx -y @jetbrains/junie-cli --acp=true", also="junie-acp"),
    "goose": _builtin("goose acp"),
    "stakpak": _builtin("stakpak acp"),
    "pi": _builtin("pi-acp", "npx -y pi-acp@^0.0.33", also="pi-acp"),
    "fast-agent": Builtin(
        ("fast-agent-mcp acp", "uvx fast-agent-mcp acp"), ("fast-agent-mcp", "fast-agent-acp"), terminal=True
    ),
    "devin": _builtin("devin acp"),
    "grok": _builtin("grok agent stdio", also="grok-build"),
    "antigravity": _builtin("agy_acp_server.par --uid=", also="google-antigravity"),
    "poolside": _builtin("pool acp", also="pool"),
    "amp": _builtin("amp-acp", "npx -y amp-acp", also="amp-acp"),
    "cline": _builtin("cline --acp"),
    "openclaw": _builtin("openclaw acp"),
    "kiro": _builtin("kiro-cli-chat acp", also="kiro-cli"),
    "iflow": _builtin("iflow --experimental-acp", also="iflow-cli"),
    "trae": _builtin("traecli acp serve", also="traecli"),
    "mcode": _builtin("mcode acp"),
    "mux": _builtin("mux acp", "npx -y mux acp"),
    "fx": _builtin("fx acp"),
    "zeroclaw": _builtin("zeroclaw acp"),
}
PACKAGES: Mapping[
    str, Package
] = {  # of the versions that were seen to exist; `agents install NAME` takes these
    "claude": Package("npm", "@agentclientprotocol/claude-agent-acp", "0.101.0", "claude-agent-acp"),
    "codex": Package("npm", "@agentclientprotocol/codex-acp", "2.6.0", "codex-acp"),
    "gemini": Package("npm", "@google/gemini-cli", "0.61.0", "gemini", ("--acp",)),
    "copilot": Package(
        "npm", "@github/copilot-language-server", "1.539.0", "copilot-language-server", ("--acp",)
    ),
    "opencode": Package("npm", "opencode-ai", "1.18.33", "opencode", ("acp",)),
    "kilo": Package("npm", "@kilocode/cli", "7.8.1", "kilo", ("acp",)),
    "qwen": Package("npm", "@qwen-code/qwen-code", "0.24.4", "qwen", ("--acp", "--experimental-skills")),
    "qoder": Package("npm", "@qoder-ai/qodercli", "1.1.52", "qodercli", ("--acp",)),
    "auggie": Package("npm", "@augmentcode/auggie", "0.36.0", "auggie", ("--acp",)),
    "pi": Package("npm", "pi-acp", "0.0.34", "pi-acp"),
}
ALIASES: Mapping[str, str] = {alias: name for name, known in BUILTIN.items() for alias in known.aliases}


def names(config: Config, installed: InstalledAgents | None = None) -> list[str]:
    """Every name `resolve` knows but the aliases, in order; configured and installed ones included."""
    return sorted({*config.agents, *(installed.names() if installed else ()), *BUILTIN})


def resolve(
    name: str, config: Config, *, path: str | None = None, installed: InstalledAgents | None = None
) -> AgentSpec:
    """How to start the agent called `name`: as configured, as installed, a built-in, or what is so nicknamed.

    Upper and lower case are told apart only where both are configured. Programs are looked up on `path`, by
    default the PATH of this process. Raises UnknownAgent with the near names, or with all that are meant.
    """
    if name not in config.agents and installed and (record := installed.find(ALIASES.get(name, name))):
        known = BUILTIN.get(record.name, Builtin(("",)))
        return _built_in(record.name, known, record.argv, "installed")
    name = _known(name, config)
    if name in config.agents:
        return _configured(name, config.agents[name])
    name = ALIASES.get(name, name)
    if installed and (record := installed.find(name)):
        return _built_in(name, BUILTIN[name], record.argv, "installed")
    return _built_in(name, BUILTIN[name], BUILTIN[name].argv(path), "built-in")


def installed_names(
    config: Config, *, path: str | None = None, installed: InstalledAgents | None = None
) -> list[str]:
    """The agents to offer to who named none: configured ones first, then those whose program is on this machine.

    Those that a runner such as npx would have to fetch are left out, and so is the demo.
    """
    found = []
    for name in names(config, installed):
        spec = resolve(name, config, path=path, installed=installed)
        here = os.path.basename(spec.argv[0]) not in RUNNERS and shutil.which(spec.argv[0], path=path)
        if name != "demo" and (spec.source != "built-in" or here):
            found.append(name)
    return sorted(found, key=lambda name: name not in config.agents)


def no_default_agent(installed: Sequence[str]) -> NoDefaultAgent:
    """The error for who named no agent where none is configured; `installed` are offered."""
    if installed:
        there = f"installed are {', '.join(installed)}; name one (-a NAME)"
    else:
        there = "none is installed; name one of `trio-broker agents list` (-a NAME; -a demo needs no keys)"
    return NoDefaultAgent(
        f"no agent was named, and there is no default: {there}, or set default_agent in the configuration file",
        agents=list(installed),
    )


def _built_in(name: str, known: Builtin, argv: tuple[str, ...], source: str) -> AgentSpec:
    return AgentSpec(
        name,
        argv,
        env=dict(known.env),
        inherit_env=known.inherit_env,
        source=source,
        terminal=ServedBy(known.terminal),
    )


def from_command(argv: Sequence[str], name: str | None = None) -> AgentSpec:
    """The agent behind a command given on the spot, called by its program's name; Misuse if it is empty."""
    if not argv or not argv[0]:
        raise Misuse("the command of the agent is empty")
    name = name or os.path.basename(argv[0])
    return AgentSpec(name, tuple(argv), source="command", terminal=_known_terminal(name, argv))


def _known_terminal(name: str, argv: Sequence[str]) -> ServedBy:
    """Whether one of the agents that need a terminal in order to ask goes by this name, or is run by this command.

    `uvx fast-agent-mcp@1.2 acp` under a name of the user's own is that agent still, and would not ask.
    """
    words = {name, *(re.split("[@=<>~!\\[]", os.path.basename(word))[0] for word in argv)}
    needs = (known for known, builtin in BUILTIN.items() if builtin.terminal)
    return ServedBy(any(words & {known, *BUILTIN[known].aliases} for known in needs))


def _known(name: str, config: Config) -> str:
    for table in (config.agents, BUILTIN, ALIASES):
        if name in table:
            return name
    for table in (config.agents, BUILTIN, ALIASES):
        found = [known for known in table if known.casefold() == name.casefold()]
        if len(found) == 1:
            return found[0]
        if found:
            raise UnknownAgent(f"{name!r} may mean {' or '.join(found)}; write it as configured", near=found)
    raise _unknown(name, config)


def _configured(name: str, agent: AgentConfig) -> AgentSpec:
    argv = (os.path.expanduser(agent.command[0]), *agent.command[1:], *agent.args)
    return AgentSpec(
        name,
        argv,
        env=dict(agent.env),
        inherit_env=agent.inherit_env,
        cwd=agent.cwd and os.path.expanduser(agent.cwd),
        start_timeout=agent.start_timeout,
        may_answer=agent.may_answer,
        terminal=_known_terminal(name, argv) if agent.terminal is None else agent.terminal,
        fs=agent.fs,
    )


def _unknown(name: str, config: Config) -> UnknownAgent:
    near = difflib.get_close_matches(name.casefold(), [*names(config), *ALIASES], n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known are {', '.join(names(config))}."
    key = name if name.replace("-", "").replace("_", "").isalnum() else f'"{name}"'
    return UnknownAgent(
        f'there is no agent {name!r}; {hint} To add one, write [agents.{key}] with command = "…" into the '
        "configuration file",
        name=name,
        near=near,
    )
