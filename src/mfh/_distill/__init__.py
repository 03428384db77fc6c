"""One student distilled from one teacher."""

from mfh._distill.result import DistillResult as DistillResult
from mfh._distill.run import distill as distill
