"""One method per file: pure functions from a Run to a result."""

from .attention import head_table as head_table
