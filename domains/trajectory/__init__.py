"""Trajectories of everybody in a scene: joint prediction, and generation under constraints."""
