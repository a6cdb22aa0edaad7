"""`answer`: the question of an agent that is a form or a URL, answered from any shell."""

from __future__ import annotations

from typing import Any

import click

from trio_broker.cli.completion_values import request_ids
from trio_broker.cli.options import format_option
from trio_broker.cli.permissions.pending import choose_request, send_answer
from trio_broker.cli.session_target import is_interactive
from trio_broker.cli.state import State, pass_state, run
from trio_broker.errors import Misuse, NoAsk
from trio_broker.protocol.elicitation.form import ACCEPT, CANCEL, DECLINE, FORM, Form

VERDICTS = {ACCEPT: "allow", DECLINE: "deny", CANCEL: "cancel"}  # as the broker calls them


@click.command("answer")
@click.argument("ask_id", metavar="[ID]", required=False, shell_complete=request_ids)
@click.option("--field", "fields", metavar="NAME=VALUE", multiple=True, help="One field; again for more.")
@click.option("--accept", is_flag=True, help="Accept it; fields that are not given take their defaults.")
@click.option("--decline", is_flag=True, help="Say no.")
@click.option("--cancel", is_flag=True, help="Close it without an answer.")
@format_option
@pass_state
def answer_command(
    state: State,
    ask_id: str | None,
    fields: tuple[str, ...],
    accept: bool,
    decline: bool,
    cancel: bool,
    style: str,
) -> None:
    """Fill in a form that an agent asks for.

    Without ID, a terminal shows what waits, and asks which one to answer; a script answers the only thing that waits.

    \b
      trio-broker answer 3-17 --field name=Ada --field tags=red,blue
      trio-broker answer 3-17 --decline

    On a terminal, without an answer as an option, it asks field by field. Fields that are not given take their
    defaults. true and false are the values of a box; a list is several values with commas, or the option again.
    """
    if sum((bool(fields) or accept, decline, cancel)) > 1:
        raise Misuse("give one answer: --field and --accept, or --decline, or --cancel")
    params: dict[str, Any] = {"answer": VERDICTS[DECLINE if decline else CANCEL]}
    person = style == "text" and is_interactive()
    id = ask_id or choose_request(state, "answer", {}, person=person)
    if not decline and not cancel:
        params = _answer(_elicitation(state, id), id, fields, accept=accept)
    send_answer(state, id, params, style)


def _elicitation(state: State, id: str) -> dict[str, Any]:
    """The question. Raises NoAsk, and Misuse for a request of another kind."""
    found = [ask for ask in state.call("_trio_broker/asks", {"askId": id})["asks"] if ask["askId"] == id]
    if not found:
        state.call(
            "_trio_broker/answer", {"askId": id}
        )  # it says who was first; without an answer it gives none
        raise NoAsk(f"there is no ask {id!r}; `trio-broker pending` lists those that wait for an answer")
    elicitation: dict[str, Any] | None = found[0].get("elicitation")
    if elicitation is None:
        raise Misuse(
            f"ask {id} is not a form; `trio-broker allow {id}` or `trio-broker deny {id}` answers it"
        )
    return elicitation


def _answer(elicitation: dict[str, Any], id: str, fields: tuple[str, ...], *, accept: bool) -> dict[str, Any]:
    if not fields and not accept:
        return _ask(elicitation, id)
    is_form = elicitation.get("mode") in (FORM, None)
    if not is_form and fields:
        raise Misuse(f"ask {id} has no fields: give --accept, --decline or --cancel")
    if not is_form:
        return {"answer": VERDICTS[ACCEPT]}
    form = Form.of(elicitation.get("requestedSchema"))
    return {"answer": VERDICTS[ACCEPT], "content": form.defaults() | parse_fields(form, fields)}


def _ask(elicitation: dict[str, Any], id: str) -> dict[str, Any]:
    """The answer of the person at the terminal. Raises Misuse where there is none."""
    if not is_interactive():
        form = Form.of(elicitation.get("requestedSchema"))
        lines = f"; its fields:\n{form.summary()}" if form.fields else ""
        raise Misuse(f"ask {id}: give --field NAME=VALUE, --accept, --decline or --cancel{lines}")
    from trio_broker.cli.permissions.form import answer_elicitation  # late: it needs Trio

    result = run(answer_elicitation, elicitation)
    content = {"content": result["content"]} if "content" in result else {}
    return {"answer": VERDICTS[result["action"]], **content}


def parse_fields(form: Form, fields: tuple[str, ...]) -> dict[str, Any]:
    """The values of NAME=VALUE options, by the types of the fields. Raises Misuse, which names the field."""
    texts: dict[str, list[str]] = {}
    for option in fields:
        name, sign, text = option.partition("=")
        if not sign:
            raise Misuse(f"--field {option!r}: write NAME=VALUE")
        texts.setdefault(name, []).append(text)
    return {name: form.field(name).parse(given) for name, given in texts.items()}
