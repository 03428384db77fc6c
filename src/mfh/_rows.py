"""What the tables of results hold: one frozen dataclass for each kind of row."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Record:
    """One trained student.

    Attributes:
        arm: what it learned from; see the list of arms in the documentation.
        ratio: share of channels removed from its teacher, in [0, 1); None where nothing is removed.
        seed: the number of the fit, which fixes split, initial student and batches.
        metric: name of the metric of the next three fields.
        train, validation, test: the metric on each split at `best_epoch`, accuracies in percent; `validation`
            is None where there is no such split.
        best_epoch: the first epoch, counted from 1, with the best validation metric; the last one without it.
        seconds: wall time of this student's training. Students trained together share their time equally.
        draw: which of several draws (arm `random`), counted from 0; None elsewhere.
        loss: the distillation loss; None without a teacher.
        also: further metrics on the test split, in their units, by name.
        repeat, fold: which repeat of the resampling the fit belongs to, and which fold it tests.
        temperature: what its outputs must be divided by so that its probabilities fit labels that it did not
            see (`mfh.training.calibration`): those of validation samples, or with few labels those that were
            held out from students like it. None where outputs are no probabilities, or it was not fitted.
    """

    arm: str
    ratio: float | None
    seed: int
    metric: str
    train: float
    validation: float | None
    test: float
    best_epoch: int
    seconds: float
    draw: int | None = None
    loss: str | None = None
    also: Mapping[str, float] = field(default_factory=dict)
    repeat: int = 0
    fold: int = 0
    temperature: float | None = None


@dataclass(frozen=True)
class FailedStudent:
    """A student of a study of several losses whose training diverged; it stands in no other table.

    Attributes:
        arm, ratio, seed, draw, loss: as in `Record`.
        epoch: in which a loss or a weight was no longer finite, counted from 1.
        reason: in words, with what can be done.
    """

    arm: str
    ratio: float | None
    seed: int
    draw: int | None
    loss: str | None
    epoch: int
    reason: str


@dataclass(frozen=True)
class Summary:
    """One arm at one ratio: mean, standard deviation over fits and 95% interval on the test split.

    `loss` is the distillation loss; None without a teacher, and in a study of one loss.
    """

    arm: str
    ratio: float | None
    metric: str
    n: int
    mean: float
    sd: float | None
    low: float | None
    high: float | None
    loss: str | None = None


@dataclass(frozen=True)
class Comparison:
    """Arm `a` minus arm `b`, paired by fit, in points of the metric on the test split.

    Attributes:
        a, b: the arms; `general (chosen)` is `general` at the ratio that validation chose in each fit.
        ratio: of both or of the one that has one; None for chosen ratios and for arms without one.
        n: number of fits.
        difference: the mean.
        low, high: 95% interval; None where there is none, and `reason` says why.
        low_boot, high_boot: 95% interval of a paired bootstrap over groups, beside Nadeau-Bengio intervals.
        p: two-sided p-value; None where the spread cannot be estimated.
        question: number of the declared question that this comparison answers, 1 to 4; None for exploratory
            comparisons.
        shown: whether the declared question is answered with yes. Questions are asked in their order, each at
            the full level, until one is not: None for those after it.
        components: standard deviations behind the interval, in points (`samples`, `noise`, `trainings`), the
            standard error (`error`) and its degrees of freedom (`degrees`), the shares of its square that
            more repeats and more samples would remove (`more_repeats`, `more_samples`), and the design; None
            for Nadeau-Bengio intervals.
        repeats_needed: repeats in all after which it will probably be decided; None if no number is enough.
        samples_needed: samples of a new study that would probably decide, if the difference is as estimated.
        reason: why there is no interval or no p-value: `one fit`, `few units`, `equal`, `no whole repeat`.
        loss: the distillation loss of both arms; None in a study of one loss.
        loss_b: the loss of `b` where it is another one than that of `a`; None else.
    """

    a: str
    b: str
    ratio: float | None
    n: int
    difference: float
    low: float | None
    high: float | None
    low_boot: float | None
    high_boot: float | None
    p: float | None
    question: int | None = None
    shown: bool | None = None
    components: Mapping[str, float] | None = None
    repeats_needed: int | None = None
    samples_needed: int | None = None
    reason: str = ""
    loss: str | None = None
    loss_b: str | None = None


@dataclass(frozen=True)
class Choice:
    """What was chosen in one seed: by validation, and the learning rate by a range test.

    Attributes:
        arm: the arm; empty for what all arms share.
        seed: the seed.
        ratio: share of channels removed, in [0, 1); 0 is the source teacher with nothing removed. None where
            the choice is no ratio.
        loss: the distillation loss; None without a teacher.
        smoothing: share of label smoothing; None where the choice is no smoothing.
        weight_decay: of the networks without a teacher, where labels are missing; None elsewhere.
        weights: of the networks in the stack, by name; None for other choices.
        lr: learning rate, if the option `lr` is auto; None where the choice is no learning rate.
    """

    arm: str
    seed: int
    ratio: float | None = None
    loss: str | None = None
    smoothing: float | None = None
    weight_decay: float | None = None
    weights: Mapping[str, float] | None = None
    lr: float | None = None


@dataclass(frozen=True)
class MetricInfo:
    """A metric of a run, as reports need it.

    Attributes:
        name: as in `Record.metric` and `Record.also`.
        unit: `%`, or empty.
        higher_is_better: whether larger values are better.
        points: what one point of it is, in words.
        margin: size of a difference, in points, that is still called no difference.
    """

    name: str
    unit: str = "%"
    higher_is_better: bool = True
    points: str = "percentage points"
    margin: float = 1.0


@dataclass(frozen=True)
class TeacherRecord:
    """One trained teacher of one seed: metric on each split and how soft its soft labels are.

    Attributes:
        teacher: `regular`, `joint`, `unimodal`, or a focused one as `general@0.5`.
        seed: the seed.
        metric: name of the metric.
        train, validation, test: the metric on each split, accuracies in percent.
        entropy: mean entropy of its soft labels on the training split at the study's temperature, in nats;
            None where outputs are no probabilities.
        saturated: share of training samples with a probability over 0.99, in [0, 1]; None likewise.
        test_loss: label loss on the test split, such as the log-loss in nats; None where all labels are used.
    """

    teacher: str
    seed: int
    metric: str
    train: float
    validation: float
    test: float
    entropy: float | None
    saturated: float | None
    test_loss: float | None = None


@dataclass(frozen=True)
class Verdict:
    """What a study says.

    Attributes:
        verdict: `help`, `hurt`, `no-effect` or `abstain`, from the interval of general - no-kd.
        focusing: True when `general` beats `joint`, `important` and `softened`, and the declared questions
            before that are answered with yes, else False; None when that cannot be said.
        sentence: both in plain words.
        reasons: further sentences: what each control says, warnings.
        one_class: whether nearly all samples, or outputs, are of one class, so that accuracy cannot show a
            difference.
    """

    verdict: Literal["help", "hurt", "no-effect", "abstain"]
    focusing: bool | None
    sentence: str
    reasons: tuple[str, ...] = ()
    one_class: bool = False


NO_VERDICT = Verdict("abstain", None, "No students were compared.")
"""The verdict of a run that compares no students."""


@dataclass(frozen=True)
class Look:
    """A look at the declared question of a study that goes on until it is decided.

    Attributes:
        repeats: repeats so far.
        fraction: share of the planned repeats that are made, in (0, 1].
        bound: what |difference / standard error| must exceed, so that the error over all looks is 5%.
        level: coverage of the interval of this look, in (0, 1).
        difference, low, high: the gain and its interval at that level.
        verdict: in the words of `Verdict`.
        exploratory: whether this look was added after the planned ones, so that the error may exceed 5%.
    """

    repeats: int
    fraction: float
    bound: float
    level: float
    difference: float
    low: float | None
    high: float | None
    verdict: Literal["help", "hurt", "no-effect", "abstain"]
    exploratory: bool = False

    @property
    def words(self) -> str:
        """The look in one sentence."""
        if self.low is None or self.high is None:
            return f"After {self.repeats} repeats there is no interval yet."
        known = {"abstain": "open", "help": "decided: it helps", "hurt": "decided: it hurts"}
        unplanned = " (exploratory)" if self.exploratory else ""
        return (
            f"After {self.repeats} repeats the gain is {self.difference:+.2f} "
            f"({self.low:+.2f} to {self.high:+.2f}, "
            f"bound {self.bound:.2f}): {known.get(self.verdict, 'decided: no effect')}{unplanned}."
        )


ALL_SAMPLES = -1
"""Number of the fit of a search that holds out no sample."""


def fit_name(seed: int) -> str:
    """Return the name of a fit in the names of files."""
    return "all-samples" if seed == ALL_SAMPLES else f"seed-{seed:04d}"


def fit_words(seed: int) -> str:
    """Return what a fit is called in a sentence.

    >>> fit_words(3), fit_words(ALL_SAMPLES)
    ('fit 3', 'the search on all samples')
    """
    return "the search on all samples" if seed == ALL_SAMPLES else f"fit {seed}"


@dataclass(frozen=True)
class FailedSeed:
    """A seed that failed once or more.

    Attributes:
        seed: the seed.
        tries: how often it was begun.
        error: the last failure, on one line.
        missing: whether the last try failed too, so that the results are without it.
    """

    seed: int
    tries: int
    error: str
    missing: bool
