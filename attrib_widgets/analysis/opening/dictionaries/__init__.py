"""Rows opened by dictionaries: what each feature contributed, of one row or of all that have one."""
