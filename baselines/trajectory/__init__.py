"""What a user would have used otherwise to predict trajectories, one readable file a method."""
