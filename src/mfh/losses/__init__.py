"""Losses and distances: pure functions of tensors, and the distillation losses that a study can compare."""

from mfh.losses.basic import cross_entropy as cross_entropy
from mfh.losses.basic import kl_divergence as kl_divergence
from mfh.losses.basic import mse as mse
from mfh.losses.basic import soft_label_entropy as soft_label_entropy
from mfh.losses.features import crd as crd
from mfh.losses.features import hints as hints
from mfh.losses.features import rkd as rkd
from mfh.losses.logits import c2kd as c2kd
from mfh.losses.logits import dist as dist
from mfh.losses.logits import dkd as dkd
from mfh.losses.logits import kendall_tau as kendall_tau
from mfh.losses.logits import ntdh as ntdh
from mfh.losses.plugins import DistillLoss as DistillLoss
from mfh.losses.plugins import Outputs as Outputs
from mfh.losses.plugins import build_loss as build_loss
from mfh.losses.plugins import register_loss as register_loss
