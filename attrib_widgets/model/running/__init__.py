"""Running the model: many prompts at once, generating, the memory a run takes, and the thread that computes."""
