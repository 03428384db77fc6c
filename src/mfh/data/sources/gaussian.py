"""Gaussian pairs of the paper's Figures 2 and 3 and Table 2, drawn from the released random streams.

Two modalities are standard normal noise. Some columns are overwritten by *decisive* features, whose weighted
sum determines the label; decisive features of both modalities are modality-general. The released code seeds
the global generators of NumPy and torch; here local generators give the same numbers, and no global state
changes.
(Xue, Gao, Ren, Zhao, The Modality Focusing Hypothesis, ICLR 2023, arXiv 2206.06487.)

Inputs are stored as (channel, sample), the layout that `mfh.experiments.gaussian.linear` reads.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Int

from mfh._checks import require

NUM_TRAIN = 200
NUM_TEST = 1000
STUDENT_WIDTH = 50
LARGEST_SEED = 2**32 - 1


@dataclass(frozen=True)
class Split:
    """One split.

    Attributes:
        x1: modality a, the teacher's.
        x2: modality b, the student's.
        label: 0 or 1.
    """

    x1: Float32[np.ndarray, "channel1 sample"]
    x2: Float32[np.ndarray, "channel2 sample"]
    label: Float32[np.ndarray, " sample"]


@dataclass(frozen=True)
class Design:
    """The decisive features of teacher and student in a figure.

    `decisive` features determine the label. The student has the first `seen` of them, and at each point of
    the figure the teacher, with `width` channels, has a range of them.

    Attributes:
        decisive: number of decisive features.
        width: number of channels of modality a.
        points: for each point of the figure, the range [first, last) of the teacher's decisive features.
        seen: number of decisive features of the student.
        student_width: number of channels of modality b.
        num_train: number of training samples.
        num_test: number of test samples.
    """

    decisive: int
    width: int
    points: Sequence[tuple[int, int]]
    seen: int = 10
    student_width: int = STUDENT_WIDTH
    num_train: int = NUM_TRAIN
    num_test: int = NUM_TEST

    def shares(self, point: tuple[int, int]) -> tuple[float, float, float]:
        """Return alpha, beta and gamma of a point: shares of the decisive features of either modality.

        Example:
            >>> [round(share, 2) for share in FIGURE_2.shares((4, 14))]
            [0.29, 0.29, 0.43]
        """
        first, last = point
        both = max(0, min(last, self.seen) - first)
        only_a, only_b = last - first - both, self.seen - both
        total = only_a + only_b + both
        return only_a / total, only_b / total, both / total

    def teacher_share(self, point: tuple[int, int]) -> float:
        """Return gamma / (alpha + gamma): the modality-general part of what the teacher can use."""
        alpha, _, gamma = self.shares(point)
        return gamma / (alpha + gamma)


FIGURE_2 = Design(
    decisive=20, width=25, points=[(10 - overlap, 20 - overlap) for overlap in (0, 2, 4, 6, 8, 10)]
)
FIGURE_3 = Design(decisive=50, width=50, points=[(0, extra + 10) for extra in (0, 10, 20, 30, 40)])

TABLE_SHARED = (5, 10, 15, 20, 25, 30)
TABLE_ONLY_A = 10
TABLE_WIDTH = 50


class TorchStream:
    """The uniform numbers of torch's CPU generator after `torch.manual_seed(seed)`, without torch.

    Torch and NumPy use the same Mersenne twister with the same seeding; a float32 uniform of torch is the low
    24 bits of one word, scaled with a single rounding. So initial weights need no torch, which is slow to
    import.

    Args:
        seed: 0 ... 2^32 - 1.
    """

    def __init__(self, seed: int) -> None:
        check_seed(seed)
        self._words = np.random.RandomState(seed)

    def uniform(self, count: int, bound: float) -> Float32[np.ndarray, " value"]:
        """Return the numbers of `torch.empty(count).uniform_(-bound, bound)`."""
        low, high = np.float32(-bound), np.float32(bound)
        unit = self._words.randint(0, 1 << 24, size=count, dtype=np.uint32) * 2.0**-24
        return (unit * float(high - low) + float(low)).astype(np.float32)

    def linear(self, num_inputs: int) -> Float32[np.ndarray, "2 input_and_bias"]:
        """Return the initial weights of `torch.nn.Linear(num_inputs, 2)`, with the bias as last column.

        Example:
            >>> print(TorchStream(0).linear(3).round(4))
            [[-0.0043  0.3097 -0.4752 -0.0114]
             [-0.4249 -0.2224  0.1548  0.4578]]
        """
        # Kaiming's uniform rule with a = sqrt(5) spans 1 / sqrt(inputs), the bound of the bias.
        bound = num_inputs**-0.5
        weight = self.uniform(2 * num_inputs, bound).reshape(2, num_inputs)
        return np.concatenate([weight, self.uniform(2, bound)[:, None]], axis=1)


def check_seed(seed: object, name: str = "seed") -> None:
    """Raise `InputError` unless both random streams can be started from `seed`."""
    require(
        isinstance(seed, int) and not isinstance(seed, bool) and 0 <= seed <= LARGEST_SEED,
        f"`{name}` must be a whole number from 0 to {LARGEST_SEED}. Got {seed!r} instead.",
    )


@dataclass(frozen=True)
class FigureDraw:
    """All random numbers of one run of a figure; the points of the figure differ in x1 only.

    Attributes:
        train: training split, with x1 still without decisive features.
        test: test split, with x1 still without decisive features.
        decisive: decisive features of both splits, (channel, sample).
        weights: torch's stream at the time when the first network is made.
    """

    train: Split
    test: Split
    decisive: tuple[Float32[np.ndarray, "channel sample"], Float32[np.ndarray, "channel test_sample"]]
    weights: TorchStream

    def teacher_inputs(
        self, point: tuple[int, int]
    ) -> tuple[Float32[np.ndarray, "channel1 sample"], Float32[np.ndarray, "channel1 test_sample"]]:
        """Return x1 of both splits, with the decisive features [first, last) in these columns."""
        first, last = point
        inputs = self.train.x1.copy(), self.test.x1.copy()
        for x1, features in zip(inputs, self.decisive, strict=True):
            x1[first:last] = features[first:last]
        return inputs


def draw_figure(design: Design, *, seed: int) -> FigureDraw:
    """Draw one run of Figure 2 or 3.

    The training split comes from NumPy's stream of `seed`, after 500 numbers for the separating hyperplane;
    the test split, and the initial weights, from the streams of `seed` + 1.

    Example:
        >>> draw = draw_figure(FIGURE_2, seed=0)
        >>> draw.train.x2.shape, draw.test.x2.shape, int(draw.train.label.sum())
        ((50, 200), (50, 1000), 97)
    """
    check_seed(seed)
    check_seed(seed + 1, "seed + 1")
    stream = np.random.RandomState(seed)
    plane = stream.randn(500)
    train, decisive = _figure_split(design, stream, plane, design.num_train)
    test, decisive_test = _figure_split(design, np.random.RandomState(seed + 1), plane, design.num_test)
    return FigureDraw(train, test, (decisive, decisive_test), TorchStream(seed + 1))


def _figure_split(
    design: Design, stream: np.random.RandomState, plane: np.ndarray, n: int
) -> tuple[Split, np.ndarray]:
    decisive = stream.randn(n, design.decisive)
    x2 = stream.randn(n, design.student_width)
    x2[:, : design.seen] = decisive[:, : design.seen]
    x1 = stream.randn(n, design.width)
    label = decisive @ plane[: design.decisive] > 0
    return Split(_channels(x1), _channels(x2), label.astype(np.float32)), _channels(decisive)


def _channels(samples: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(samples.astype(np.float32).T)


@dataclass(frozen=True)
class TableDraw:
    """All random numbers of one run of Table 2 at one gamma.

    Attributes:
        shared: number of decisive features in both modalities; `TABLE_ONLY_A` more are in x1 only.
        a: the first training split.
        b: the second training split.
        test: the test split.
        random_channels: channels of x1 of the mode `random`, drawn with replacement.
    """

    shared: int
    a: Split
    b: Split
    test: Split
    random_channels: Int[np.ndarray, " shared"]

    @property
    def gamma(self) -> float:
        """Share of the decisive features that are in both modalities."""
        return self.shared / (TABLE_ONLY_A + self.shared)


def draw_table(*, seed: int) -> Iterator[TableDraw]:
    """Draw one run of Table 2; yield the draw of each gamma, in ascending order.

    Each gamma restarts NumPy's stream. So all of them are pieces of one sequence of normal numbers, which is
    drawn once.

    Example:
        >>> [round(draw.gamma, 3) for draw in draw_table(seed=42)]
        [0.333, 0.5, 0.6, 0.667, 0.714, 0.75]
    """
    check_seed(seed)
    stream = np.random.RandomState(seed)
    normal = np.empty(0)
    for shared in TABLE_SHARED:
        sizes = [n * (TABLE_ONLY_A + shared + 2 * TABLE_WIDTH) for n in (NUM_TRAIN, NUM_TEST, NUM_TRAIN)]
        normal = np.concatenate([normal, stream.randn(sum(sizes) - normal.size)])
        a, test, b = (_table_split(part, shared) for part in np.split(normal, np.cumsum(sizes[:-1])))
        # a copy of the stream: the next gamma continues as if these channels had not been drawn
        here = np.random.RandomState(0)
        here.set_state(stream.get_state())
        yield TableDraw(shared, a, b, test, here.randint(0, TABLE_WIDTH, shared))


def _table_split(normal: Float[np.ndarray, " value"], shared: int) -> Split:
    num_decisive = TABLE_ONLY_A + shared
    n = normal.size // (num_decisive + 2 * TABLE_WIDTH)
    decisive, x1, x2 = np.split(normal, np.cumsum([n * num_decisive, n * TABLE_WIDTH]))
    decisive, x1, x2 = (part.reshape(n, -1).copy() for part in (decisive, x1, x2))
    x1[:, :num_decisive] = decisive
    x2[:, :shared] = decisive[:, :shared]
    label = decisive @ np.ones(num_decisive) > 0
    return Split(_channels(x1), _channels(x2), label.astype(np.float32))
