"""Many small students at once, with the results that the loop would give one by one.

Multilayer perceptrons on the CPU are trained in compiled code, one per thread (`threads`). All others, and
all on other devices, are one batched computation in torch (`batched`).
"""

from mfh.training.many.engine import MEMORY, train_many, why_alone, why_not_many

__all__ = ["MEMORY", "train_many", "why_alone", "why_not_many"]
