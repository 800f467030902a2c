"""Is this still the model that was recorded? Stamps, and the one gate for runs that are handed in."""
