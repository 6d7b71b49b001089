"""``guided-bench``: what the samplers cost beyond the network, measured in one run."""
