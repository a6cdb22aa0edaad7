"""The values behind a question: the request in full, the focus, and the answers that keys can give."""

from __future__ import annotations

from typing import Any

import attrs

from trio_broker.tui.question.form import FormInput

Json = dict[str, Any]
RequestKey = tuple[str, str]  # the key of a session, and the id of a request in it

ELICITATION = "elicitation/create"
MAX_CHOICES = 9  # the digits
LETTERS = {"allow_once": "y", "allow_always": "A", "reject_once": "n", "reject_always": "D"}
ONCE = ("allow_once", "reject_once")


@attrs.frozen
class AnswerChoice:
    """`kind` is ACP's kind of the option, or "". `letter` answers like the digit, "" where only the digit does.

    `fills_in`: it opens the form, and the form gives the answer.
    """

    name: str
    kind: str
    params: Json
    letter: str = ""
    fills_in: bool = False

    @property
    def is_rejection(self) -> bool:
        return self.kind.startswith("reject")

    @property
    def needs_confirmation(self) -> bool:
        """Whether it decides about more than this request, or does not say that it does not."""
        return self.kind not in ONCE


def answer_choices(request: Json) -> list[AnswerChoice]:
    """What keys can answer to a request: its options; to a form without options its values, or no; to a request of
    another kind nothing.
    """
    options = [option for option in request["options"] if isinstance(option, dict)]
    if request["method"] == ELICITATION and not options:
        accept = AnswerChoice("Accept", "allow_once", {"answer": "allow"}, "y")
        decline = AnswerChoice("Decline", "reject_once", {"answer": "deny"}, "n")
        if not is_form(request):
            return [accept, decline]
        fill_in = AnswerChoice("Fill in …", "allow_once", {"answer": "allow"}, "y", fills_in=True)
        return [fill_in, decline] if isinstance(request.get("elicitation"), dict) else [decline]
    if request["method"] == ELICITATION and len(options) > MAX_CHOICES:
        options = [*options[: MAX_CHOICES - 1], options[-1]]  # the last one declines
    kinds = [str(option.get("kind") or "") for option in options]
    return [
        AnswerChoice(
            str(option.get("name") or option.get("optionId")),
            kind,
            {"optionId": option.get("optionId")},
            LETTERS.get(kind, "") if kinds.count(kind) == 1 else "",
        )
        for option, kind in zip(options[:MAX_CHOICES], kinds, strict=False)
    ]


@attrs.frozen(eq=False)
class Question:
    """An open request of an agent with its tool call, as the broker gave it.

    Equal by identity: what is fetched again is another question, so no key answers a text that has just been replaced.
    """

    ask: Json

    @property
    def choices(self) -> list[AnswerChoice]:
        return answer_choices(self.ask)

    def choice(self, key: str) -> AnswerChoice | None:
        """The choice that this key stands for: its number, or its letter."""
        numbered = enumerate(self.choices, 1)
        return next((one for number, one in numbered if key in (str(number), one.letter)), None)


@attrs.frozen
class Focus:
    """How the current request is being answered. `drawn` is on the screen, with its choices, since `drawn_at`.

    `lacks_room`: the window is too small for it. `scroll`: rows of its text above the first that is shown. `full`: it
    has the whole screen.
    `confirming`: a choice that waits for its second key. `form`: what is filled in, and `form_question`: the question
    that it answers. `drawn_form`: the complete form that is on the screen since `drawn_at`.
    """

    drawn: Question | None = None
    drawn_at: float = 0.0
    lacks_room: bool = False
    scroll: int = 0
    full: bool = False
    confirming: AnswerChoice | None = None
    form: FormInput | None = None
    form_question: Question | None = None
    drawn_form: FormInput | None = None


def request_key(session: Json, request: Json) -> RequestKey:
    return session["key"], request["askId"]


def is_form(request: Json) -> bool:
    """Whether an answer has fields to fill in: a form that is a single choice has options instead."""
    if request["options"]:
        return False
    elicitation = request.get("elicitation")
    mode = elicitation.get("mode") if isinstance(elicitation, dict) else request.get("mode")
    return request["method"] == ELICITATION and mode == "form"
