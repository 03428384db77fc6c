"""The experiment: its design, the arms of one seed, resume, statistics and verdict."""

from mfh._study.design import study as study
