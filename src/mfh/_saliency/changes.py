"""How the distance to the student changes, sample by sample, when one channel is permuted.

There are three methods, the cheapest first: a linear head changes the squared distance in closed form; a head
that begins with a linear layer changes its first activations by a term of low rank; any other head is run
again. With e the change of the logits and r = z - s, the squared distance of a sample changes by
e . (e + 2 r) / K. In this form no large numbers cancel, and a change of 0 gives exactly 0.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mfh._checks import InputError, require
from mfh._saliency.heads import Head, LinearStart, logits_of
from mfh._saliency.result import Distance
from mfh._saliency.slopes import Slopes

PerSample = Float[Tensor, "permutation sample"]
Donors = Int[Tensor, "permutation sample"]


def changes_of(
    features: Float[Tensor, "sample channel *position"],
    head: Head,
    start: LinearStart | None,
    student_logits: Float[Tensor, "sample output"],
    *,
    distance: Distance,
    memory_budget: int,
) -> "Changes":
    """Return the cheapest method that fits the head.

    Raises:
        InputError: the head cannot be run on the features, or its outputs do not fit the student's.
    """
    if start is None:
        return _AnyHead(features, head, student_logits, distance, memory_budget)
    if start.rest is None and features.ndim == 2 and distance == "mse":
        return _LinearHead(features, start, student_logits, memory_budget)
    return _LinearStartHead(features, start, student_logits, distance, memory_budget)


class Changes(ABC):
    """The change of every sample's distance. Call `select` for a channel, then `of` for permutations.

    Attributes:
        baseline: the distance without permutation.
        knows_importance: whether the head is linear, so that `importance` is defined.
    """

    baseline: float
    knows_importance = False
    _constant: Bool[Tensor, " channel"]

    def without_effect(self, channel: int) -> bool:
        """Return whether permuting the channel cannot change the logits."""
        return bool(self._constant[channel])

    @abstractmethod
    def select(self, channel: int) -> None:
        """Choose the channel to permute."""

    @abstractmethod
    def of(self, donors: Donors) -> tuple[PerSample, PerSample]:
        """Return increase and `followed` of every sample that receives its donor's value, in float64."""

    def importance(self) -> float:
        """Return 2 ||W_c||^2 Var(h_c) / K if the head is linear, else 0."""
        return 0.0

    def slopes(self, make: Callable[[Tensor, Tensor], Slopes | None]) -> Slopes | None:  # noqa: ARG002
        """Return `make` of residual and centred student; None if there is a closed form."""
        return None

    def center_influence(self) -> Float[Tensor, " sample"] | float:
        """Return the contribution of each sample to `followed` through the mean of the student's logits."""
        return 0.0


class _LinearHead(Changes):
    """A linear head under MSE, without positions: a few numbers per sample."""

    knows_importance = True

    def __init__(
        self, features: Tensor, start: LinearStart, student_logits: Tensor, memory_budget: int
    ) -> None:
        self._features = features
        self._weight = start.weight.double()
        student = student_logits.double()
        bias = 0.0 if start.bias is None else start.bias.double()
        size = max(1, memory_budget // (8 * features.shape[1]))
        logits = [part.double() @ self._weight.T + bias for part in features.split(size)]
        self._residual = torch.cat(logits) - student
        self._student = student - student.mean(0)
        self._constant = _constant_channels(features) | ~self._weight.any(0)
        self._chunk = max(1, memory_budget // (24 * len(features)))
        self._cached = range(0)
        self.baseline = float(self._residual.square().mean())

    def select(self, channel: int) -> None:
        if channel not in self._cached:
            self._cached = range(channel, min(channel + self._chunk, self._features.shape[1]))
            columns = slice(channel, self._cached.stop)
            x = self._features[:, columns].T.contiguous().double()
            self._x = x - x.mean(1, keepdim=True)
            self._q = 2 * self._weight.T[columns] @ self._residual.T
            self._p = -2 * self._weight.T[columns] @ self._student.T
        i = channel - self._cached.start
        self._now = self._x[i], self._q[i], self._p[i], self._weight[:, channel].square().sum()

    def of(self, donors: Donors) -> tuple[PerSample, PerSample]:
        x, q, p, norm = self._now
        change = x[donors].sub_(x).div_(len(self._weight))
        followed = change * p
        return change.mul_(torch.addcmul(q, change, norm * len(self._weight))), followed

    def importance(self) -> float:
        x, _, _, norm = self._now
        return float(2 * norm * x.square().mean() / len(self._weight))


class _Rerun(Changes):
    """Heads of which a part must be run again, in blocks of (permutation, sample) pairs."""

    def __init__(
        self, logits: Tensor, student_logits: Tensor, distance: Distance, pairs_per_call: int
    ) -> None:
        student = student_logits.to(logits)
        self._logits = logits
        self._residual = logits - student
        self._student = student - student.mean(0)
        self._distance = distance
        self._rows = min(len(logits), pairs_per_call)
        self._group = max(1, pairs_per_call // len(logits))
        own = self._residual.abs() if distance == "l1" else self._residual.square()
        self.baseline = float(own.double().mean())

    def slopes(self, make: Callable[[Tensor, Tensor], Slopes | None]) -> Slopes | None:
        return None if self.knows_importance else make(self._residual, self._student)

    @abstractmethod
    def _changed_logits(self, donors: Donors, rows: slice) -> Float[Tensor, "permutation sample output"]:
        """Return the logits of the samples in `rows`, each with its donor's value of the selected channel."""

    def select(self, channel: int) -> None:
        self._channel = channel
        self._total_change = self._logits.new_zeros(self._logits.shape[1], dtype=torch.float64)
        self._num_changes = 0

    def of(self, donors: Donors) -> tuple[PerSample, PerSample]:
        increase = torch.empty(donors.shape, dtype=torch.float64, device=donors.device)
        followed = torch.zeros_like(increase)
        for begin in range(0, donors.shape[1], self._rows):
            rows = slice(begin, min(begin + self._rows, donors.shape[1]))
            for first in range(0, len(donors), self._group):
                group = slice(first, first + self._group)
                change = self._changed_logits(donors[group, rows], rows) - self._logits[rows]
                increase[group, rows] = self._increase(change, self._residual[rows])
                if self._distance == "mse":
                    followed[group, rows] = (change * self._student[rows]).mean(2).mul_(-2).double()
                    self._total_change += change.sum(1).double().sum(0)
        self._num_changes += donors.numel()
        return increase, followed

    def center_influence(self) -> Tensor:
        mean = self._total_change / self._num_changes
        return 2 * (self._student.double() @ mean) / len(mean)

    def _increase(self, change: Tensor, residual: Tensor) -> Tensor:
        if self._distance == "l1":
            return ((change + residual).abs_().sub_(residual.abs())).mean(2).double()
        return (change + 2 * residual).mul_(change).mean(2).double()


class _LinearStartHead(_Rerun):
    """A head that begins with a linear layer, whose output changes by its response to one channel."""

    def __init__(
        self,
        features: Tensor,
        start: LinearStart,
        student_logits: Tensor,
        distance: Distance,
        memory_budget: int,
    ) -> None:
        features = features.to(start.weight)
        self._rest = start.rest
        self.knows_importance = start.rest is None and distance == "mse"
        self._maps = features.flatten(2) if features.ndim > 2 else features[:, :, None]
        units, outputs = len(start.weight), student_logits.shape[1]
        self._weight = start.weight.reshape(units, features.shape[1], -1)
        pairs = max(1, memory_budget // (features.element_size() * (3 * units + 4 * outputs)))
        self._first = torch.cat(
            [
                torch.nn.functional.linear(part.flatten(1), start.weight, start.bias)
                for part in features.split(max(1, memory_budget // (4 * features[0].numel())))
            ]
        )
        logits = _run_all(self._after, self._first, student_logits, pairs)
        super().__init__(logits, student_logits, distance, pairs)
        self._constant = _constant_channels(features) | ~self._weight.any(0).any(1)

    def select(self, channel: int) -> None:
        super().select(channel)
        x, weight = self._maps[:, channel], self._weight[:, channel]
        if x.shape[1] == 1:
            self._x, self._unit = x[:, 0].contiguous(), weight[:, 0]
        else:
            self._response = x @ weight.T
            self._others = self._first - self._response

    def importance(self) -> float:
        if not self.knows_importance:
            return 0.0
        response = (self._maps[:, self._channel] @ self._weight[:, self._channel].T).double()
        return float(2 * response.var(0, correction=0).mean())

    def _changed_logits(self, donors: Donors, rows: slice) -> Tensor:
        if self._maps.shape[2] == 1:
            change = self._x[donors] - self._x[rows]
            first = torch.addcmul(self._first[rows], change[:, :, None], self._unit)
        else:
            first = self._response[donors].add_(self._others[rows])
        return self._after(first.flatten(0, 1)).reshape(*donors.shape, -1)

    def _after(self, first: Tensor) -> Tensor:
        return first if self._rest is None else _logits(self._rest, first)


class _AnyHead(_Rerun):
    """Any other head, run on copies of the features in which one channel is exchanged."""

    def __init__(
        self, features: Tensor, head: Head, student_logits: Tensor, distance: Distance, memory_budget: int
    ) -> None:
        self._features, self._head = features, head
        width = 4 * (features[0].numel() + student_logits.shape[1])
        pairs = max(1, memory_budget // (features.element_size() * width))
        logits = _run_all(lambda x: _logits(head, x), features, student_logits, pairs)
        super().__init__(logits, student_logits, distance, pairs)
        self._constant = _constant_channels(features)
        self._copies = features.new_empty(0)
        self._loaded: slice | None = None

    def _changed_logits(self, donors: Donors, rows: slice) -> Tensor:
        copies = self._load(len(donors), rows)
        column = self._features[:, self._channel]
        copies[:, :, self._channel] = column[donors]
        version = copies._version
        logits = _logits(self._head, copies.flatten(0, 1)).reshape(*donors.shape, -1)
        if copies._version == version:
            copies[:, :, self._channel] = column[rows]
        else:
            self._loaded = None  # the head changed its input
        return logits

    def _load(self, count: int, rows: slice) -> Tensor:
        """Return copies of the samples in `rows`, made again only if other samples were copied last."""
        if self._loaded != rows or len(self._copies) < count:
            block = self._features[rows]
            self._copies = block.expand(count, *block.shape).clone()
            self._loaded = rows
        return self._copies[:count]


def _constant_channels(features: Tensor) -> Bool[Tensor, " channel"]:
    columns = [(x == x[:1]).flatten(0).all() for x in features.unbind(1)]
    return torch.stack(columns)


def _logits(head: Head, x: Tensor) -> Tensor:
    logits = logits_of(head(x))
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def _run_all(head: Head, x: Tensor, student_logits: Tensor, size: int) -> Tensor:
    """Return the logits of all samples; check that the head fits its input and the student's outputs."""
    parts = []
    for part in x.split(size):
        try:
            parts.append(_logits(head, part.clone()))  # a head may change its input
        except InputError:
            raise
        except Exception as error:
            raise InputError(
                f"`head` must map `features` to logits. It failed on {tuple(part.shape)} "
                f"of {part.dtype}: {error}"
            ) from error
        expected = (len(part), student_logits.shape[1])
        require(
            tuple(parts[-1].shape) == expected,
            f"`head` must return logits of the shape of `student_logits`, {expected} here. "
            f"Got {tuple(parts[-1].shape)}.",
        )
    logits = torch.cat(parts)
    require(
        bool(torch.isfinite(logits).all()),
        "`head` must return finite logits. Got NaN or infinity: its training diverged.",
    )
    return logits
