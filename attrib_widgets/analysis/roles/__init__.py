"""What heads are called for, and by which measures: pattern roles, circuit roles, and roles in one task."""
