"""The permission requests of agents: list them, answer them from any shell, answer them in the terminal of a prompt.

Owns how a request is shown to a person and how an answer is read. It must not decide anything itself: policies belong
to the broker. Read `pending` (pending, allow, deny) and `answer` (forms), then `terminal` (the question during a
prompt) and `form` (a form, or a URL, on a terminal). Below them are `question` (rows and keys, pure), `screen` and
`pager` (what is printed), `keyboard` (single keys), and `chooser` (which of several questions `allow` means).
"""
