"""Values of actions, learned from logged data: what the energy of a policy is made of."""
