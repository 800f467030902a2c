"""What an experiment is asked and what it measures: pairs of runs, metrics, answers, and how sure a mean is."""
