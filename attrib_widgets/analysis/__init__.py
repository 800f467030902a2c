"""One method per file: pure functions from a Run to a result."""
