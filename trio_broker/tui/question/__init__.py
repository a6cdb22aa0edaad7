"""The question of the selected session: how it is drawn, when keys answer it, and which key gives which answer.

This folder owns everything between an open request of an agent and the call that answers it. A key answers only while
the question has the focus and its text has been on the screen for a moment, so nobody reads one question and answers
another. Read `model` (which answers there are) first, then `focus` (which keys act, and when), `form` (how a form is
filled in) and `panel` (the lines).
"""
