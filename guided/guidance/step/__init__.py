"""Methods that wrap the step from level t to level s."""
