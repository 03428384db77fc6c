"""What every way to train many students needs."""

from torch import Tensor

from mfh._checks import InputError, listing
from mfh.data.paired import PairedDataset


def not_finite(number: int, what: str, epoch: int, data: PairedDataset, rows: Tensor) -> InputError:
    """The error of a student whose loss or weight is not finite after a batch.

    Args:
        number: which student.
        what: what is not finite.
        epoch: counted from 1.
        data: the samples.
        rows: those of the batch.
    """
    ids = listing(data.id[rows.numpy()], limit=1024)
    return InputError(
        f"Student {number}: {what} in epoch {epoch}, in the batch of samples {ids}: lower `lr`, set `clip`, "
        "or look at these samples."
    )
