"""Benchmarks: ours against a plain way to the same numbers, in the same run on the same threads."""
