"""Sets of parts tested as a whole: a circuit alone and without, and which parts must go until the answer changes."""
