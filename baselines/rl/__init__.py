"""What one would use in place of a guided policy: one file an algorithm, on the same data."""
