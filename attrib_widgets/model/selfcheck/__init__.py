"""Does this model add up? The check, its report, and the table of families."""
