"""The attribution graph of one prompt: features, errors, tokens and constants, and what each put into which other."""
