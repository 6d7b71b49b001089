"""Two-dimensional bandits: guidance against a truth that can be drawn."""
