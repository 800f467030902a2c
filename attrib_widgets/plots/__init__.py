"""Matplotlib figures of results."""
