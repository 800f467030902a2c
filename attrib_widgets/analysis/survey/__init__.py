"""Many prompts at once: which parts write to their answers, how steadily, and whether they are those of the prompt."""
