"""Opening a row: the tokens, upstream parts, neurons, experts and features behind it."""
