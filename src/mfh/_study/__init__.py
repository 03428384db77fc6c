"""The whole experiment: teachers, ranked channels and students of each seed, statistics and verdict."""

from mfh._study.experiment import study as study
