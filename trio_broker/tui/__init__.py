"""`trio-broker top`: the dashboard. Pictures, events and keys are folded into a state; views make lines of it."""
