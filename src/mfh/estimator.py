"""The student as a scikit-learn estimator: a second modality teaches it in `fit`, and is not needed later.

They are students of few labels and many pairs (`mfh.study` with `labelled`): teachers of the privileged
modality, of both and of the student's own learn from the labelled samples, and a stack of them teaches the
student on all samples.
"""

from collections.abc import Callable
from copy import deepcopy
from typing import Any, ClassVar

import numpy as np
import torch

from mfh._checks import InputError, listing
from mfh._export.deployed import Deployed
from mfh._study.networks import Networks
from mfh._study.refit import Winner, refit
from mfh.config import StudyConfig
from mfh.data.paired import PairedDataset
from mfh.models.mlp import mlp, standardized

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.metrics import accuracy_score, r2_score
    from sklearn.utils import check_consistent_length, check_random_state
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_array, check_is_fitted, column_or_1d, validate_data
except ImportError as error:
    raise InputError("The estimators need scikit-learn: pip install 'mfh[sklearn]'.") from error

PRIVILEGED, STUDENT = "privileged", "student"
TEACHERS = {
    "auto": "", "stack": "stack", "regular": "regular", "fused": "fused", "joint": "joint", "self": "self",
    "none": "no-kd",
}  # fmt: skip
"""Values of `teacher`, and the arms of a study that they are."""
ALONE = ("auto", "self", "none")
"""Those that need no privileged modality."""
SPREAD = "In cross-validation, spread the labelled samples over the folds: "


class _Crossmodal(BaseEstimator):
    """What both estimators share; `CrossmodalClassifier` explains the parameters."""

    _task: ClassVar[str]

    def __init__(
        self,
        *,
        teacher: str = "auto",
        hidden: tuple[int, ...] = (128, 64),
        steps: int | None = None,
        lr: float | None = None,
        batch_size: int = 64,
        label_folds: int = 5,
        device: str = "cpu",
        random_state: Any = 0,
    ) -> None:
        self.teacher = teacher
        self.hidden = hidden
        self.steps = steps
        self.lr = lr
        self.batch_size = batch_size
        self.label_folds = label_folds
        self.device = device
        self.random_state = random_state

    def _fit(
        self,
        inputs: np.ndarray,
        label: np.ndarray,
        known: np.ndarray,
        names: list[str] | None,
        privileged: Any,
    ) -> None:
        """Train the student.

        Args:
            inputs: features of the student, (sample, feature).
            label: codes of classes, or numbers, (sample,); anything where a sample is not `known`.
            known: whether each sample has a label.
            names: of the classes; None for numbers.
            privileged: features of the privileged modality, (sample, feature); None without one.
        """
        arm = self._arm(privileged)
        if privileged is None:
            privileged = inputs  # its networks are not trained
        else:
            privileged = check_array(
                privileged, dtype=np.float32, ensure_all_finite="allow-nan", input_name=PRIVILEGED
            )
            if len(privileged) != len(inputs):
                raise InputError(
                    f"`privileged` must have one row for each of the {len(inputs)} samples. Got "
                    f"{len(privileged)}."
                )
        data = PairedDataset.from_arrays(
            {PRIVILEGED: privileged, STUDENT: inputs}, label=label, class_names=names, task=self._task
        ).without_labels(np.flatnonzero(~known))
        given = {"steps": self.steps, "lr": self.lr}
        config = StudyConfig(
            teacher=PRIVILEGED,
            student=STUDENT,
            arms=(arm,),
            labelled=("1",) if known.all() else (),
            hidden=self.hidden,
            batch_size=self.batch_size,
            label_folds=max(2, min(self.label_folds, int(known.sum()))),
            device=self.device,
            **{name: value for name, value in given.items() if value is not None},  # type: ignore[arg-type]
        )
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        winner = Winner(arm=arm, loss=None if arm == "no-kd" else "kl")
        done = refit(Networks(data, config), winner, seed=seed)
        network = standardized(mlp(inputs.shape[1], data.num_classes, hidden=self.hidden), [inputs.shape[1]])
        model = Deployed(network, data.num_classes, self._task)
        model.load_trained(done.state, done.tensors)
        self.model_ = model.cpu().eval()
        self.report_ = {
            "arm": arm,
            "labelled": done.labelled,
            "unlabelled": done.samples - done.labelled,
            "steps": done.steps,
            "teachers": {name: v for name, v in done.teachers.items() if arm == "stack" or name != "stack"},
            "weights": dict(done.weights) if arm == "stack" else {},
        }

    def _arm(self, privileged: Any) -> str:
        """Return the arm of a study that the parameters ask for."""
        if self.teacher not in TEACHERS:
            raise InputError(f"`teacher` must be one of {listing(TEACHERS)}. Got {self.teacher!r}.")
        if privileged is None and self.teacher not in ALONE:
            raise InputError(
                f"`teacher` must be one of {listing(ALONE)} where `fit` gets no `privileged` modality. Got "
                f"{self.teacher!r}."
            )
        return TEACHERS[self.teacher] or ("self" if privileged is None else "stack")

    def _scores(self, inputs: Any) -> np.ndarray:
        """Return what the student says of new samples, (sample, output)."""
        check_is_fitted(self)
        values = validate_data(self, inputs, reset=False, dtype=np.float64)
        model = deepcopy(self.model_).double()  # else a sample's scores depend on how many others there are
        with torch.no_grad():
            scores: np.ndarray = model(torch.tensor(values)).numpy()
        return scores

    def _score(
        self, inputs: Any, y: np.ndarray, known: np.ndarray, weight: Any, metric: Callable[..., Any]
    ) -> float:
        """Return a metric of the samples that have a label.

        Args:
            inputs: features of the student, (sample, feature).
            y: labels, (sample,).
            known: whether each sample has a label.
            weight: how much each sample counts, (sample,); None if all count alike.
            metric: takes labels, predictions and `sample_weight`.
        """
        check_consistent_length(inputs, y, weight)
        if not known.any():
            raise InputError(
                f"`y` must have a label for one sample or more that is scored. All {len(y)} lack one. "
                + SPREAD
                + "`cv=StratifiedKFold(3).split(X, labelled)`, where `labelled` is true or false."
            )
        weight = None if weight is None else np.asarray(weight)[known]
        return float(metric(y[known], self.predict(inputs)[known], sample_weight=weight))


class CrossmodalClassifier(ClassifierMixin, _Crossmodal):
    """Classify samples of one modality; a second one, which is needed in training alone, teaches.

    Samples without a label have `y = -1`, as in scikit-learn's semi-supervised estimators. If the values of
    `y` are just -1 and 1, they are two classes. Without `privileged`, unlabelled samples are learned from by
    self-training. Features are standardised inside.

    Args:
        teacher: what the student learns from: `stack` (a stack of all teachers), `regular` (a network that
            sees the privileged modality), `fused` (both modalities), `joint` (Algorithm 1's step 1), `self`
            (networks that see what the student sees), `none` (labels alone, smoothing and weight decay
            tuned). `auto` is `stack` with a privileged modality, else `self`.
        hidden: widths of the hidden layers of all networks.
        steps: training steps of each network; by default as in `mfh.study`.
        lr: learning rate; by default as in `mfh.study`.
        batch_size: samples a step.
        label_folds: folds of the labelled samples whose out-of-fold outputs weigh the teachers, 2 or more.
        device: cpu, cuda or another one.
        random_state: fixes initial weights and batches.

    Attributes:
        classes_: the classes.
        n_features_in_: number of features of the student's modality.
        report_: `arm`, numbers of `labelled` and `unlabelled` samples, `steps`, the metric of the `teachers`
            on labelled samples that they did not see, and their `weights` in the stack.
        model_: the student as a torch module: features in, logits out.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> y = np.arange(200) % 2
        >>> camera = y[:, None] + rng.normal(size=(200, 3))
        >>> lidar = y[:, None] + 0.3 * rng.normal(size=(200, 2))
        >>> seen = np.where(np.arange(200) < 30, y, -1)  # 30 labels
        >>> student = CrossmodalClassifier(hidden=(8,), steps=50).fit(camera, seen, privileged=lidar)
        >>> student.predict(camera[:5]).shape, student.report_["labelled"]
        ((5,), 30)
    """

    _task = "single-label"

    def fit(self, X: Any, y: Any, privileged: Any = None) -> "CrossmodalClassifier":  # noqa: N803
        """Train teachers and student.

        Args:
            X: features that the student sees, (sample, feature).
            y: classes, (sample,); -1 (None or an empty text for texts) where a sample has no label.
            privileged: features of the modality that is there in training alone, (sample, feature). A sample
                that lacks it has a row of NaN, and teaches by its label alone.

        Returns:
            The estimator itself.

        Raises:
            InputError: there are no two classes, or an argument breaks a rule. It is a `ValueError`.
        """
        X, y = validate_data(self, X, y, dtype=np.float32, ensure_min_samples=2)  # noqa: N806
        y = column_or_1d(y, warn=True)
        known = _labelled(y)
        if known.any():
            check_classification_targets(y[known])
        self.classes_, codes = np.unique(y[known], return_inverse=True)
        if len(self.classes_) < 2:
            found = f"1 class: {listing(self.classes_)}" if known.any() else "no sample with a label"
            raise InputError(
                f"`y` must have two classes or more. Got {found}."
                + ("" if known.all() else f" {SPREAD}`cv=StratifiedKFold(3)`.")
            )
        label = np.zeros(len(y), dtype=np.int64)
        label[known] = codes
        self._fit(X, label, known, [str(name) for name in self.classes_], privileged)
        return self

    def predict_proba(self, X: Any) -> np.ndarray:  # noqa: N803
        """Return the probability of each class, (sample, class), in the order of `classes_`."""
        proba: np.ndarray = torch.from_numpy(self._scores(X)).softmax(dim=1).numpy()
        return proba

    def predict(self, X: Any) -> np.ndarray:  # noqa: N803
        """Return the class of each sample, (sample,)."""
        places = self._scores(X).argmax(axis=1)
        found: np.ndarray = self.classes_[places]
        return found

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:  # noqa: N803
        """Return the accuracy on the samples that have a label.

        Args:
            X: features that the student sees, (sample, feature).
            y: classes, (sample,), without a label as in `fit`. If -1 is one of `classes_`, it is a label.
            sample_weight: how much each sample counts, (sample,); by default all count alike.

        Returns:
            The share of labelled samples whose class is predicted, 0 to 1.

        Raises:
            InputError: no sample has a label. It is a `ValueError`.
        """
        check_is_fitted(self)
        y = column_or_1d(y)
        return self._score(X, y, _labelled(y, self.classes_.tolist()), sample_weight, accuracy_score)


class CrossmodalRegressor(RegressorMixin, _Crossmodal):
    """Predict a number from one modality; a second one, which is needed in training alone, teaches.

    Samples without a label have `y = NaN`. `CrossmodalClassifier` explains the parameters.

    Attributes:
        n_features_in_: number of features of the student's modality.
        report_: as for the classifier.
        model_: the student as a torch module: features in, numbers in the unit of `y` out.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> x = rng.normal(size=(120, 3))
        >>> model = CrossmodalRegressor(hidden=(8,), steps=100).fit(x[:, :2], x[:, 0], privileged=x)
        >>> model.score(x[:, :2], x[:, 0]) > 0.8
        True
    """

    _task = "regression"

    def fit(self, X: Any, y: Any, privileged: Any = None) -> "CrossmodalRegressor":  # noqa: N803
        """Train teachers and student; see `CrossmodalClassifier.fit`.

        Args:
            X: features that the student sees, (sample, feature).
            y: numbers, (sample,); NaN where a sample has no label.
            privileged: features of the modality that is there in training alone, (sample, feature).

        Returns:
            The estimator itself.

        Raises:
            InputError: no two numbers differ, or an argument breaks a rule. It is a `ValueError`.
        """
        if y is None:
            raise InputError("CrossmodalRegressor requires y to be passed, but the target y is None.")
        X = validate_data(self, X, dtype=np.float32, ensure_min_samples=2)  # noqa: N806
        y = _numbers(y)
        if len(y) != len(X):
            raise InputError(f"`y` must have one number for each of the {len(X)} samples. Got {len(y)}.")
        known = ~np.isnan(y)
        if len(np.unique(y[known])) < 2:
            raise InputError(
                f"`y` must have two different numbers or more. Got {int(known.sum())} samples with a number, "
                f"and {len(y) - int(known.sum())} with NaN."
                + ("" if known.all() else f" {SPREAD}`cv=StratifiedKFold(3).split(X, np.isnan(y))`.")
            )
        self._fit(X, np.where(known, y, y[known].mean()), known, None, privileged)
        return self

    def predict(self, X: Any) -> np.ndarray:  # noqa: N803
        """Return a number for each sample, (sample,)."""
        return self._scores(X)[:, 0]

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:  # noqa: N803
        """Return R2, the share of the variance that is explained, on the samples that have a number.

        Args:
            X: features that the student sees, (sample, feature).
            y: numbers, (sample,); NaN where a sample has no label.
            sample_weight: how much each sample counts, (sample,); by default all count alike.

        Returns:
            At most 1; 0 for a constant, the mean.

        Raises:
            InputError: no sample has a number. It is a `ValueError`.
        """
        y = _numbers(y)
        return self._score(X, y, ~np.isnan(y), sample_weight, r2_score)


def _numbers(y: Any) -> np.ndarray:
    """Return the targets of a regression, (sample,), NaN where a sample has none."""
    y = check_array(y, dtype=np.float64, ensure_2d=False, ensure_all_finite="allow-nan", input_name="y")
    numbers: np.ndarray = column_or_1d(y, warn=True)
    return numbers


def _labelled(y: np.ndarray, classes: list[Any] | None = None) -> np.ndarray:
    """Return whether each sample has a class; see `CrossmodalClassifier`.

    Args:
        y: classes, (sample,).
        classes: the known classes; None takes -1 for a class if `y` has just -1 and 1.
    """
    if y.dtype.kind in "OUS":
        return np.array([value is not None and value != "" and value != -1 for value in y.tolist()])
    is_class = set(np.unique(y).tolist()) == {-1, 1} if classes is None else -1 in classes
    known: np.ndarray = np.ones(len(y), dtype=bool) if is_class else y != -1
    return known
