"""Tracing a number back through the layers: row by row, or all paths at once down to the tokens."""
