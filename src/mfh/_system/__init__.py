"""Files, locks, signals, workers and progress: what a long run needs of its machine."""
