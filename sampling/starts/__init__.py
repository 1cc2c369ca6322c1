"""Where samples start, if not at a sample of the prior at t = 1."""
