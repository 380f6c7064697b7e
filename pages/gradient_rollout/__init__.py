"""Maps of several classes on one picture, a row for each model, beside plain rollout."""
