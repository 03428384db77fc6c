"""The student in scikit-learn: checks of scikit-learn, missing labels, routing of the second modality."""

import json
import pickle
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV, KFold, StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mfh import CrossmodalClassifier, CrossmodalRegressor, InputError

SMALL = {"hidden": (8,), "steps": 40, "label_folds": 2}


def paired(count: int = 300, classes: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A weak modality, a strong one, and the classes."""
    rng = np.random.default_rng(seed)
    y = np.arange(count) % classes
    centers = 1.5 * rng.normal(size=(classes, 3))
    shared = centers[y] + rng.normal(size=(count, 3))
    return shared + 0.5 * rng.normal(size=(count, 3)), np.hstack([shared, centers[y]]), y


@pytest.fixture
def routing() -> Iterator[None]:
    with sklearn.config_context(enable_metadata_routing=True):
        yield


def hide(y: np.ndarray, count: int) -> np.ndarray:
    return np.where(np.arange(len(y)) < count, y, -1)


CHECKS = """
import json, sys, warnings
from sklearn.utils.estimator_checks import check_estimator
import mfh
warnings.simplefilter("ignore")
estimator = getattr(mfh, sys.argv[1])(hidden=(16,), steps=int(sys.argv[2]), label_folds=2)
done = check_estimator(estimator, on_skip=None)
print(json.dumps([[check["check_name"], check["status"]] for check in done]))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("name", "steps"), [("CrossmodalClassifier", 60), ("CrossmodalRegressor", 100)])
def test_it_passes_the_checks_of_scikit_learn(name: str, steps: int) -> None:
    """In a process of its own: scikit-learn gives arguments of wrong types, which tests refuse at once."""
    done = subprocess.run([sys.executable, "-c", CHECKS, name, str(steps)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    checks = json.loads(done.stdout.splitlines()[-1])
    assert {check for check, status in checks if status != "passed"} <= {"check_array_api_input"}
    assert len(checks) > 45


def test_a_second_modality_of_unlabelled_samples_teaches() -> None:
    x, privileged, y = paired(900)
    train, test = slice(0, 600), slice(600, None)
    seen = hide(y[train], 18)
    options = {"hidden": (16,), "steps": 150, "label_folds": 3}
    alone = CrossmodalClassifier(teacher="none", **options).fit(x[train], seen)
    taught = CrossmodalClassifier(**options).fit(x[train], seen, privileged=privileged[train])
    assert taught.score(x[test], y[test]) > alone.score(x[test], y[test]) + 0.02
    assert taught.report_["arm"] == "stack"
    assert (taught.report_["labelled"], taught.report_["unlabelled"]) == (18, 582)
    assert taught.report_["teachers"]["stack"] > 80
    assert sum(taught.report_["weights"].values()) > 0
    proba = taught.predict_proba(x[test])
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    np.testing.assert_array_equal(taught.classes_[proba.argmax(axis=1)], taught.predict(x[test]))


def test_labels_of_samples_that_have_none_do_not_matter_and_are_marked_for_each_type() -> None:
    x, privileged, y = paired(120)
    numbers = CrossmodalClassifier(**SMALL).fit(x, hide(y, 30), privileged=privileged)
    names = np.array(["a", "b", "c"], dtype=object)[y]
    for mark in (None, "", -1):
        texts = names.copy()
        texts[30:] = mark
        found = CrossmodalClassifier(**SMALL).fit(x, texts, privileged=privileged)
        assert found.classes_.tolist() == ["a", "b", "c"]
        np.testing.assert_array_equal(found.predict(x), names[:3][numbers.predict(x)])
        assert found.score(x, texts) == numbers.score(x[:30], y[:30])


@pytest.mark.parametrize("teacher", ["stack", "regular", "self"])
def test_rows_of_nan_lack_the_second_modality(teacher: str) -> None:
    x, privileged, y = paired(120)
    gone = np.arange(120) % 3 == 1
    model = CrossmodalClassifier(teacher=teacher, **SMALL)
    seen = hide(y, 60)
    model.fit(x, seen, privileged=np.where(gone[:, None], np.nan, privileged))
    assert (model.report_["labelled"], model.report_["unlabelled"]) == (60, 40)  # those of complete pairs
    assert np.isfinite(model.predict_proba(x)).all()
    privileged[0, 0] = np.nan
    with pytest.raises(InputError, match="Got nan at sample 0"):
        model.fit(x, seen, privileged=privileged)


def test_minus_one_and_one_alone_are_two_classes() -> None:
    x, _, y = paired(80, classes=2)
    found = CrossmodalClassifier(teacher="none", **SMALL).fit(x, 2 * y - 1)
    assert found.classes_.tolist() == [-1, 1]
    assert found.report_["unlabelled"] == 0


def test_samples_without_a_class_are_not_scored() -> None:
    x, _, y = paired(120)
    seen, weight = hide(y, 30), np.linspace(0, 1, 120)
    model = CrossmodalClassifier(teacher="none", **SMALL).fit(x, seen)
    right = model.predict(x[:30]) == y[:30]
    assert 0.5 < right.mean() == model.score(x, seen) < 1
    assert model.score(x, seen, sample_weight=weight) == pytest.approx(np.average(right, weights=weight[:30]))
    assert model.score(x, y) == (model.predict(x) == y).mean()
    where = (seen == 1) | (seen == -1)  # no two classes: the student knows that -1 is none
    assert model.score(x[where], seen[where]) == right[y[:30] == 1].mean()
    with pytest.raises(InputError, match=r"a label for one sample or more that is scored. All 90 lack one"):
        model.score(x[30:], seen[30:])
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        model.score(x, seen[:-1])


def test_minus_one_is_scored_where_it_is_a_class() -> None:
    x, _, y = paired(80, classes=2)
    model = CrossmodalClassifier(teacher="none", **SMALL).fit(x, 2 * y - 1)
    minus = x[y == 0]
    assert model.score(minus, np.full(40, -1)) == (model.predict(minus) == -1).mean() > 0.5


def test_samples_without_a_number_are_not_scored() -> None:
    x = np.random.default_rng(0).normal(size=(90, 2))
    seen = np.where(np.arange(90) < 40, x[:, 0], np.nan)
    model = CrossmodalRegressor(teacher="none", **SMALL).fit(x, seen)
    weight = np.linspace(0.1, 1, 90)
    given, found = seen[:40], model.predict(x[:40])
    assert model.score(x, seen) == pytest.approx(r2_score(given, found))
    expected = r2_score(given, found, sample_weight=weight[:40])
    assert model.score(x, seen, sample_weight=weight) == pytest.approx(expected)
    with pytest.raises(InputError, match="All 50 lack one"):
        model.score(x[40:], seen[40:])


@pytest.mark.usefixtures("routing")
def test_cross_validation_with_few_labels_scores_the_labelled_samples() -> None:
    x, privileged, y = paired(180)
    seen = hide(y, 60)
    student = CrossmodalClassifier(teacher="regular", **SMALL).set_fit_request(privileged=True)
    student.set_score_request(sample_weight=True)
    folds = list(StratifiedKFold(2).split(x, seen))
    expected = []
    for train, test in folds:
        model = clone(student).fit(x[train], seen[train], privileged=privileged[train])
        rows = test[seen[test] != -1]
        expected.append((model.predict(x[rows]) == y[rows]).mean())
    given = {"privileged": privileged, "sample_weight": np.ones(180)}
    scores = cross_val_score(student, x, seen, cv=2, params=given)
    np.testing.assert_allclose(scores, expected)
    assert scores.mean() > 0.6
    grid = {"teacher": ["none", "regular"]}
    search = GridSearchCV(student, grid, cv=folds, refit=False).fit(x, seen, **given)
    assert search.cv_results_["mean_test_score"][1] == pytest.approx(scores.mean())
    texts = np.append(["a", "b", "c"], "")[seen]  # place -1 is the last
    np.testing.assert_allclose(cross_val_score(student, x, texts, cv=2, params=given), expected)


def test_cross_validation_of_numbers_that_some_samples_lack() -> None:
    x = np.random.default_rng(0).normal(size=(120, 2))
    seen = np.where(np.arange(120) % 3 == 0, x[:, 0], np.nan)
    model = CrossmodalRegressor(teacher="none", hidden=(8,), steps=100, label_folds=2)
    assert cross_val_score(model, x, seen, cv=2).min() > 0.5


@pytest.mark.parametrize(
    ("kind", "mark"), [(CrossmodalClassifier, -1), (CrossmodalRegressor, np.nan)], ids=["classes", "numbers"]
)
def test_folds_without_labels_say_how_to_spread_them(kind: type[CrossmodalClassifier], mark: float) -> None:
    x, _, y = paired(90)
    model = kind(teacher="none", **SMALL)
    seen = np.where(np.arange(90) < 30, y, mark)
    with pytest.raises(InputError, match=r"spread the labelled samples .* `cv=StratifiedKFold"):
        cross_val_score(model, x, seen, cv=KFold(3), error_score="raise")
    with pytest.warns(UserWarning, match="All 30 lack one") as caught:
        scores = cross_val_score(
            model, x[:60], seen[:60], cv=[(range(30), range(30, 60)), (range(20), range(60))]
        )
    assert len(caught) == 1
    assert np.isnan(scores).tolist() == [True, False]
    spread = StratifiedKFold(3).split(x, seen == y)
    assert np.isfinite(cross_val_score(model, x, seen, cv=spread)).all()


def test_it_is_cloned_and_pickled_and_repeats() -> None:
    x, privileged, y = paired(90)
    first = CrossmodalClassifier(**SMALL, random_state=3).fit(x, y, privileged=privileged)
    again = clone(first).fit(x, y, privileged=privileged)
    read = pickle.loads(pickle.dumps(first))
    for other in (again, read):
        np.testing.assert_array_equal(other.predict_proba(x), first.predict_proba(x))
    assert clone(first).get_params() == first.get_params()


@pytest.mark.usefixtures("routing")
def test_pipelines_and_searches_route_the_second_modality() -> None:
    x, privileged, y = paired(120)
    student = CrossmodalClassifier(**SMALL).set_fit_request(privileged=True)
    line = make_pipeline(StandardScaler(), student)
    assert line.fit(x, y, privileged=privileged)[-1].report_["arm"] == "stack"
    assert cross_val_score(student, x, y, cv=2, params={"privileged": privileged}).mean() > 0.6
    search = GridSearchCV(line, {"crossmodalclassifier__teacher": ["none", "regular"]}, cv=2)
    search.fit(x, y, privileged=privileged)
    assert search.predict(x).shape == (120,)


def test_numbers_are_predicted_in_their_unit() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(150, 3))
    y = 200 + 30 * x[:, 0]
    seen = np.where(np.arange(150) < 60, y, np.nan)
    model = CrossmodalRegressor(hidden=(8,), steps=150, label_folds=2).fit(x[:, :2] + 0.1, seen, privileged=x)
    assert model.score(x[:, :2] + 0.1, y) > 0.8
    assert model.report_["labelled"] == 60


@pytest.mark.parametrize(
    ("change", "text"),
    [({"teacher": "best"}, "`teacher` must be one of `auto`"),
     ({"teacher": "fused", "privileged": None}, "where `fit` gets no `privileged` modality. Got 'fused'"),
     ({"privileged": np.zeros((3, 2))}, "one row for each of the 90 samples. Got 3"),
     ({"y": np.zeros(90, dtype=int)}, "two classes or more. Got 1 class: `0`.$"),
     ({"y": np.full(90, -1)}, "Got no sample with a label. In cross-validation, spread .* `cv=Strat")],
)  # fmt: skip
def test_mistakes_are_named(change: dict[str, object], text: str) -> None:
    x, privileged, y = paired(90)
    given = {"teacher": "auto", "privileged": privileged, "y": y} | change
    with pytest.raises(InputError, match=text):
        CrossmodalClassifier(teacher=given["teacher"], **SMALL).fit(
            x, given["y"], privileged=given["privileged"]
        )


@pytest.mark.parametrize("known", [0, 1, 5])
def test_numbers_must_differ(known: int) -> None:
    x, _, _ = paired(30)
    y = np.where(np.arange(30) < known, 2.5, np.nan)
    with pytest.raises(
        InputError, match=rf"two different numbers or more. Got {known} samples with a number"
    ):
        CrossmodalRegressor(**SMALL).fit(x, y)
