"""Evidence before a study: gamma_hat, companion statistics, a pilot, and a verdict with a probability."""

from mfh._diagnose.design import diagnose as diagnose
from mfh._diagnose.gamma import Gamma as Gamma
from mfh._diagnose.gamma import estimate_gamma as estimate_gamma
