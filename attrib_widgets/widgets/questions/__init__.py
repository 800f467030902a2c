"""What is asked: a question and its contrast, the words behind a prompt, a screen as a line, what was asked before."""
