"""What networks return, as logits."""

from mfh._saliency.heads import to_logits as logits_of

__all__ = ("logits_of",)
