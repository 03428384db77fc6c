"""Training: the loop, checkpoints, cached teacher outputs, many students at once."""
