"""Train many small students at once, with the results of the loop.

Multilayer perceptrons on the CPU are trained in compiled code, one per thread (`threads`). Other networks,
and all networks on other devices, are trained as one batched computation in torch (`batched`).
"""

from mfh.training.many.engine import MEMORY, train_many, why_alone, why_not_many

__all__ = ["MEMORY", "train_many", "why_alone", "why_not_many"]
