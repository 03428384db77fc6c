"""Files, locks, signals, workers and progress: what a long run needs from its machine."""
