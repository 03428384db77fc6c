"""What every way to train many students needs."""

from torch import Tensor

from mfh.training.diverged import DivergedError
from mfh.training.jobs import StudentFit, StudentJob


def not_finite(number: int, what: str, epoch: int, job: StudentJob, rows: Tensor) -> DivergedError:
    """The error of a student whose loss or weight is not finite after a batch.

    Args:
        number: which student, where its job has no name.
        what: what is not finite.
        epoch: counted from 1.
        job: the student.
        rows: those of the batch.
    """
    return DivergedError(what, epoch, job.data.id[rows.numpy()], who=job.called(number))


def failed(error: DivergedError) -> StudentFit:
    """What a student leaves that diverged."""
    return StudentFit({}, 0, (), (), 0.0, failure=error)
