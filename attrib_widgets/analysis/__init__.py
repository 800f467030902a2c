"""Pure functions from a Run or a Model to a result, in rooms named after the questions they answer."""
