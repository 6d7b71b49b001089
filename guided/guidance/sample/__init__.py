"""Methods that wrap a whole run."""
