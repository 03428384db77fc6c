"""Training: the loop, its checkpoints, cached teacher outputs, and many students at once."""
