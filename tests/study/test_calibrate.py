"""A study with calibrated students: the same classes, a lower log-loss on validation data."""

from dataclasses import replace

import numpy as np
from samples import make_paired

import mfh
from mfh import StudyConfig

CONFIG = StudyConfig(
    teacher="audio", student="image", repeats=1, folds=2, epochs=20, ratio=(0.5,), random_draws=1,
    hidden=(32,), arms=("no-kd", "joint"), device="cpu", label_weight=1.0, lr=0.2,
)  # fmt: skip


def test_outputs_are_divided_by_the_temperature_that_records_name() -> None:
    plain, done = (
        mfh.study(make_paired(), config=replace(CONFIG, calibrate=word)) for word in ("none", "temperature")
    )
    assert [r.temperature for r in plain.records] == [r.temperature for r in done.records]
    assert all(r.temperature is not None and r.temperature > 0 for r in plain.records)
    assert [r.test for r in plain.records] == [r.test for r in done.records]
    for seed in (0, 1):
        records = [r for r in plain.records if r.seed == seed]
        for place, record in enumerate(records):
            before, after = (x.predictions[f"outputs/{seed}"][place] for x in (plain, done))
            np.testing.assert_allclose(before / record.temperature, after, rtol=1e-5)
    worse, better = (np.mean([r.also["log-loss"] for r in x.records]) for x in (plain, done))
    assert better < worse
