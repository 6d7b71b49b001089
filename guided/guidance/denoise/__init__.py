"""Methods that wrap the network's prediction."""
