"""Questions that an agent asks a person (ACP, `elicitation/create`): forms, their fields, and the answers that fit.

Owns how a form is read, and which values fill it in. It knows nothing of sessions or clients. Read `form` first (the
fields together, and a single choice as the options of a permission request), then `field`.
"""
