"""The whole experiment: teachers, ranked channels and students of each seed, statistics and verdict."""

from mfh._study.study import study as study
