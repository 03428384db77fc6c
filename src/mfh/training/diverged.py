"""The error of a training that diverged."""

from collections.abc import Iterable

from mfh._checks import InputError, listing


class DivergedError(InputError):
    """A loss or a weight is not finite after a batch.

    Attributes:
        what: what is not finite, as the start of a sentence.
        epoch: counted from 1.
        ids: ids of the samples of the batch.
        who: the network, in words; empty if the caller trains only one.
        kept: a sentence that says where the last good state is; empty if none is kept.
    """

    def __init__(self, what: str, epoch: int, ids: Iterable[object], who: str = "", kept: str = "") -> None:
        self.what, self.epoch, self.ids, self.who, self.kept = what, epoch, tuple(ids), who, kept
        named, kept = f"{who}: " if who else "", f" {kept}" if kept else ""
        super().__init__(
            f"{named}{what} in epoch {epoch}, in the batch of samples {listing(self.ids, limit=1024)}: lower "
            f"`lr`, set `clip`, or look at these samples.{kept}"
        )

    def of(self, who: str) -> "DivergedError":
        """Return the same error with the network named."""
        return DivergedError(self.what, self.epoch, self.ids, who, self.kept)

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return type(self), (self.what, self.epoch, self.ids, self.who, self.kept)
