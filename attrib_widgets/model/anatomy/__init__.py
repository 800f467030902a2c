"""Where each family keeps its parts, as data; what names do not tell is tried and checked."""
