"""Configs check themselves, and say everything that is wrong at once."""

from dataclasses import fields

import pytest

from mfh import DiagnoseConfig, DistillConfig, InputError, StudyConfig, TrainConfig
from mfh.commands._options import field_texts


@pytest.mark.parametrize("config", [TrainConfig, DistillConfig, StudyConfig, DiagnoseConfig])
def test_every_field_is_documented(config: type) -> None:
    assert {spec.name for spec in fields(config)} <= set(field_texts(config))


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"ratio": (1.0,)}, r"`ratio` must lie in \[0, 1\). Got 1.0 instead. Removing every channel"),
        ({"ratio": ()}, "`ratio` must name one share or more"),
        ({"seeds": 0}, "`seeds` must be 1 or more. Got 0"),
        ({"seeds": 10**14}, "`seeds` must be 100000 or less"),
        ({"random_draws": 10**6}, "`random_draws` must be 100000 or less"),
        ({"seed": -1}, "`seed` must be 0 or more"),
        ({"teacher": "a", "student": "a"}, "`student` must differ from `teacher`"),
        ({"lr": float("nan")}, "`lr` must be a number above 0"),
        ({"momentum": 1.0}, "`momentum` must lie in"),
        ({"temperature": 0.0}, "`temperature` must be above 0"),
        ({"label_weight": 0.0, "distill_weight": 0.0}, "not both be 0"),
        ({"smoothing": (1.0,)}, "`smoothing` must hold shares"),
    ],
)
def test_broken_rules_are_named(values: dict[str, object], text: str) -> None:
    with pytest.raises(InputError, match=text):
        StudyConfig(**values)  # type: ignore[arg-type]


def test_all_errors_at_once() -> None:
    with pytest.raises(InputError) as caught:
        StudyConfig(seeds=0, epochs=0, lr=-1.0)
    assert all(name in str(caught.value) for name in ("`seeds`", "`epochs`", "`lr`"))


def test_ratios_are_sorted_and_distinct() -> None:
    assert StudyConfig(ratio=[0.75, 0.25, 0.75]).ratio == (0.25, 0.75)
