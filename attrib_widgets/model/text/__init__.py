"""What people write, as tokens that a model can read, and what tokens say."""
