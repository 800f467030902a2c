"""The vocabulary: parts, targets, and what errors say. It imports no other room."""
