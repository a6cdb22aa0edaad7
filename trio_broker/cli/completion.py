"""`completion`: the script with which a shell completes this command. The machinery is click's.

For bash there is a script of our own: bash takes a word with a colon, as the keys of sessions have, for several words.
"""

from __future__ import annotations

import os
import re
from typing import Any

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    add_completion_class,
    get_completion_class,
    split_arg_string,
)

PROGRAM = "trio-broker"
VARIABLE = "_TRIO_BROKER_COMPLETE"
SPECIAL = re.compile(r"([^\w@%+=:,./-])")
WORD = re.compile(r"""\s+|(?:\\.|'[^']*'?|"[^"]*"?|[^\s'"\\]|\\$)+""")  # or what is between two
SCRIPT = """\
%(complete_func)s() {
    local IFS=$'\\n' response completion type value
    response=$(env COMP_LINE="${COMP_LINE:0:COMP_POINT}" COMP_WORDBREAKS="$COMP_WORDBREAKS" \
%(complete_var)s=bash_complete "$1")
    for completion in $response; do
        IFS=',' read -r type value <<< "$completion"
        if [[ $type == dir ]]; then
            compopt -o dirnames
        elif [[ $type == file ]]; then
            compopt -o default
        else
            COMPREPLY+=("$value")
        fi
    done
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""


class Bash(BashComplete):
    """Reads the line up to the cursor, instead of bash's words, and answers with what bash will put in their place."""

    source_template = SCRIPT

    def get_completion_args(self) -> tuple[list[str], str]:
        line = os.environ["COMP_LINE"]
        words = split_arg_string(line)
        self.raw = WORD.findall(line)[-1].strip()  # the last word as it was typed
        incomplete = words.pop() if self.raw and words else ""
        return words[1:], incomplete

    def format_completion(self, item: CompletionItem[Any]) -> str:
        if self.raw.startswith(("'", '"')):  # bash takes it as one word
            return f"{item.type},{item.value}"
        value = SPECIAL.sub(r"\\\1", item.value)
        typed = self.raw.partition("=")[2] if self.raw.startswith("--") else self.raw
        cut = typed.rfind(":") + 1 if ":" in os.environ.get("COMP_WORDBREAKS", "") else 0
        return f"{item.type},{value[cut:]}"


add_completion_class(Bash, "bash")


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion_command(shell: str) -> None:
    """Print the script that completes commands, options, session keys and agents' names in your shell.

    Keys and names come from the running broker; none is started for them.

    \b
      eval "$(trio-broker completion bash)"                 in ~/.bashrc
      eval "$(trio-broker completion zsh)"                  in ~/.zshrc, after compinit
      trio-broker completion fish > ~/.config/fish/completions/trio-broker.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None, "one of the three"
    root = click.get_current_context().find_root().command
    click.echo(kind(root, {}, PROGRAM, VARIABLE).source())
