"""The models of Table 2: regular and general teachers, Algorithm 1's pair, and their students.

Names of arms: `_b` and `_a` name the training split of the teacher, for arms whose released counterpart takes
the other split. `no_kd_ab` is a student without KD that has the labels of both splits.

Deviation: Algorithm 1's ranking is the exact expectation over permutations, where the released code takes 100
draws. It consumes no random numbers, so the initial weights drawn after it differ from the released ones.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32, Int

from mfh.data.sources.gaussian import TABLE_WIDTH, Split, TableDraw, TorchStream, draw_table
from mfh.experiments.gaussian.linear import fit, fit_pair, logits, probability
from mfh.experiments.gaussian.runs import Point, score
from mfh.results import GaussianRecord

MODES = ("random", "gt", "alg1")
"""How the general teacher's channels are chosen: at random, by the ground truth, by Algorithm 1."""


def run_table(seed: int) -> list[GaussianRecord]:
    """Train the models of one run at every gamma; modes that start from the same numbers share models."""
    records = []
    for draw in draw_table(seed=seed):
        models = TableModels(draw, seed)
        stream = models.stream()
        baselines = models.baselines(stream)
        starts = stream.linear(draw.shared), stream.linear(TABLE_WIDTH)
        by_mode = {
            "random": baselines + models.general(*starts, draw.random_channels),
            "gt": baselines + models.general(*starts, np.arange(draw.shared)),
        }
        stream = models.stream()
        pair, channels = models.algorithm_1(stream)
        baselines = models.baselines(stream)
        starts = stream.linear(draw.shared), stream.linear(TABLE_WIDTH)
        by_mode["alg1"] = pair + baselines + models.general(*starts, channels)
        records += [replace(record, mode=mode) for mode in MODES for record in by_mode[mode]]
    return records


@dataclass
class TableModels:
    """The models of one run at one gamma. The regular teachers are trained at once; all modes share them.

    Attributes:
        draw: the data.
        seed: seed of the run.
    """

    draw: TableDraw
    seed: int

    def __post_init__(self) -> None:
        start = TorchStream(self.seed).linear(TABLE_WIDTH)
        self.regular_a = fit(self.draw.a.x1, self.draw.a.label, start)
        self.regular_b = fit(self.draw.b.x1, self.draw.b.label, start)

    def stream(self) -> TorchStream:
        """Return the stream of initial weights, after those of the regular teacher."""
        stream = TorchStream(self.seed)
        stream.linear(TABLE_WIDTH)
        return stream

    @property
    def point(self) -> Point:
        """The point of the table."""
        return Point(self.draw.gamma, None, self.draw.a.label.size, TABLE_WIDTH - self.draw.shared)

    def score(
        self, arm: str, weights: np.ndarray, x: str = "x2", split: Split | None = None
    ) -> GaussianRecord:
        """Return the record of a model of modality `x` that was trained on `split`, by default on B."""
        split = split or self.draw.b
        train, test = (getattr(split, x), split.label), (getattr(self.draw.test, x), self.draw.test.label)
        return score(arm, self.seed, self.point, weights, train, test)

    def baselines(self, stream: TorchStream) -> list[GaussianRecord]:
        """Train students without KD and by regular KD; return their records and the regular teachers'."""
        a, b = self.draw.a, self.draw.b
        both = Split(np.hstack([a.x1, b.x1]), np.hstack([a.x2, b.x2]), np.concatenate([a.label, b.label]))
        no_kd_start, kd_start = stream.linear(TABLE_WIDTH), stream.linear(TABLE_WIDTH)

        def distilled(x: np.ndarray, teacher: np.ndarray, teacher_x: np.ndarray) -> np.ndarray:
            return fit(x, b.label, kd_start, teacher=probability(teacher_x, teacher))

        # As released: the teacher is given x2; the student is trained on x1 and tested on x2.
        swapped = distilled(b.x1, self.regular_a, b.x2)
        swapped_inputs = (b.x1, b.label), (self.draw.test.x2, self.draw.test.label)
        return [
            self.score("regular_teacher", self.regular_a, "x1", a),
            self.score("regular_teacher_b", self.regular_b, "x1"),
            self.score("no_kd", fit(b.x2, b.label, no_kd_start)),
            self.score("no_kd_ab", fit(both.x2, both.label, no_kd_start), split=both),
            self.score("regular_kd", distilled(b.x2, self.regular_a, b.x1)),
            self.score("regular_kd_b", distilled(b.x2, self.regular_b, b.x1)),
            score("regular_kd_as_released", self.seed, self.point, swapped, *swapped_inputs),
        ]

    def general(
        self, teacher_start: np.ndarray, student_start: np.ndarray, channels: np.ndarray
    ) -> list[GaussianRecord]:
        """Retrain the teacher on chosen channels of x1, on B as released and on A, and distil each."""
        b, test = self.draw.b, self.draw.test
        records = []
        for suffix, split in (("", b), ("_a", self.draw.a)):
            teacher = fit(split.x1[channels], split.label, teacher_start)
            student = fit(b.x2, b.label, student_start, teacher=probability(b.x1[channels], teacher))
            inputs = (split.x1[channels], split.label), (test.x1[channels], test.label)
            records += [
                score(f"general_teacher{suffix}", self.seed, self.point, teacher, *inputs),
                self.score(f"general_kd{suffix}", student),
            ]
        return records

    def algorithm_1(self, stream: TorchStream) -> tuple[list[GaussianRecord], Int[np.ndarray, " shared"]]:
        """Train the pair on A, rank the channels of each by the other, return the chosen channels of x1."""
        a, shared = self.draw.a, self.draw.shared
        starts = stream.linear(TABLE_WIDTH), stream.linear(TABLE_WIDTH)
        teacher, student = fit_pair(a.x1, a.x2, a.label, *starts)
        first = most_salient(a.x1, teacher, logits(a.x2, student))[:shared]
        second = most_salient(a.x2, student, logits(a.x1, teacher))[:shared]
        records = [
            replace(self.score("joint_teacher", teacher, "x1", a), recovery=float(np.mean(first < shared))),
            replace(self.score("joint_student", student, "x2", a), recovery=float(np.mean(second < shared))),
        ]
        return records, first


def most_salient(
    x: Float32[np.ndarray, "channel sample"],
    weights: Float32[np.ndarray, "2 channel_and_bias"],
    other: Float32[np.ndarray, "sample 2"],
) -> Int[np.ndarray, " channel"]:
    """Return the input channels of a linear model, the most salient towards another model's logits first.

    Salience is the exact increase of Algorithm 1, 2 (||W_c||^2 Var(h_c) - W_c . Cov(r, h_c)) / K, by which
    `mfh.saliency` ranks too. It is written out here because importing torch takes longer than training all
    models of the table.

    Args:
        x: inputs of the model.
        weights: its weights, the bias last.
        other: logits of the other model for the same samples.
    """
    h = x.astype(np.float64)
    weight, residual = weights[:, :-1].astype(np.float64), logits(x, weights).astype(np.float64) - other
    h -= h.mean(axis=1, keepdims=True)
    increase = (weight**2).sum(axis=0) * (h**2).mean(axis=1) - (weight * (h @ residual).T).sum(
        axis=0
    ) / x.shape[1]
    return np.argsort(-increase, kind="stable")
