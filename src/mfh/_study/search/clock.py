"""The time of a search: the share that each fit has of all `minutes`, and how many students it allows."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Share:
    """What a fit may use of the time of a run; wall clock, so that workers elsewhere can read it.

    Attributes:
        end: when the searches of all fits should be over, `time.time`.
        rounds: fits still to come one after the other, this one included.
    """

    end: float
    rounds: int = 1

    @classmethod
    def of_all(cls, minutes: float, *, left: int, fits: int, workers: int = 1) -> list["Share"]:
        """Return the share of each fit that is left.

        A repeated call has the time of the fits that it still has to run: those that are finished had theirs.

        Args:
            minutes: for the whole run.
            left: fits that are not finished.
            fits: all fits.
            workers: fits that run side by side.

        Example:
            >>> [share.rounds for share in Share.of_all(10.0, left=5, fits=6, workers=2)]
            [3, 2, 2, 1, 1]
        """
        end = time.time() + 60 * minutes * left / fits
        return [cls(end, -(-(left - number) // workers)) for number in range(left)]

    def begin(self) -> float:
        """Return when the searches of a fit that begins now should be over, `time.monotonic`."""
        return time.monotonic() + max(0.0, self.end - time.time()) / self.rounds


@dataclass
class Clock:
    """Says how many students a search may still train, by how long those before took.

    Attributes:
        until: when it should be over, `time.monotonic`; None for no limit.
        agreed: makes a number the same in all processes that train a network together.
    """

    until: float | None
    agreed: Callable[[float], float] = float
    _spent: int = 0
    _last: float = field(default_factory=lambda: time.monotonic())

    def allows(self, spent: int) -> float:
        """Return the number of students: infinite without a limit, 0 when the time is over.

        Args:
            spent: students that the search has trained so far.
        """
        if self.until is None:
            return float("inf")
        now = time.monotonic()
        pace = (now - self._last) / max(1, spent - self._spent)
        self._spent, self._last = spent, now
        left = self.until - now
        return self.agreed(max(1.0, left / max(pace, 1e-9)) if left > 0 else 0.0)
