"""Logs that can be reused: CappedIGW exploration around a policy, and estimates from its logs."""
