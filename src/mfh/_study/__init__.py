"""The whole experiment: teachers, ranked channels and students of each seed, statistics and verdict."""

from mfh._study.experiment import study as study
from mfh._study.planning import Plan as Plan
from mfh._study.planning import plan as plan
from mfh._study.search.run import fit as fit
