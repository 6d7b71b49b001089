"""Scenes and forecasts as files that other toolkits read."""
