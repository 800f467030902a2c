"""Which number is explained, and its one decomposition into what the parts wrote."""
