"""``guided-bench rl``: what acting and learning cost here, beside the plain way of doing them."""
