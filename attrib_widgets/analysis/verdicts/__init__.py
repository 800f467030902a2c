"""What the experiments showed of each part, in words."""
