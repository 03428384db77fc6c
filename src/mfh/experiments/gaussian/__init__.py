"""The Gaussian experiments of the paper: Figures 2 and 3, Table 2, and a regime beyond them."""

from mfh.experiments.gaussian.experiment import FIGURES as FIGURES
from mfh.experiments.gaussian.experiment import PAPER_FIGURES as PAPER_FIGURES
from mfh.experiments.gaussian.experiment import check as check
from mfh.experiments.gaussian.experiment import run as run
from mfh.experiments.gaussian.experiment import run_all as run_all
