"""Algorithm 1: the saliency of each channel of a teacher, exact or by sampling."""

from mfh._saliency.algorithm import saliency as saliency
from mfh._saliency.heads import linear_start as linear_start
from mfh._saliency.linear import SaliencyAccumulator as SaliencyAccumulator
from mfh._saliency.result import SaliencyResult as SaliencyResult
from mfh._saliency.streaming import streaming_saliency as streaming_saliency
