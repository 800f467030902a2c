"""How it gets there: the widget class with its requests, the binary container, the bundle and the offline page."""
