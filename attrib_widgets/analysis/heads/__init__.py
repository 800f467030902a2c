"""What heads attend to: one head, or all of them at once."""
