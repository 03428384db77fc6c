"""The diagnosis: short trainings in folds, gamma_hat on held-out samples, companion statistics, verdict."""

import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mfh._checks import require
from mfh._diagnose.companions import calibration_error, compare_outputs
from mfh._diagnose.few import diagnose_few
from mfh._diagnose.folds import FoldEvidence, deal, run_fold, take, usable_rows
from mfh._diagnose.gamma import Gamma, center, contributions, estimate_gamma
from mfh._diagnose.verdict import (
    Evidence,
    advise,
    believe,
    best_temperature,
    chance_bound,
    explain,
    name_verdict,
)
from mfh._study.cost import announce
from mfh._study.networks import Build, Networks, study_arms, with_modalities
from mfh._study.outputs import StudentKey
from mfh._system.lock import holds
from mfh._system.progress import Bar, Progress, is_shown
from mfh._system.workers import open_pool, run_tasks
from mfh.arms import BASELINE, FUSED, HEADLINE, PILOT
from mfh.comparing import Fit, Resampling, Table, chosen_key, compare_arms, headline_key, summarize, tabulate
from mfh.config import DiagnoseConfig
from mfh.data.paired import PairedDataset
from mfh.data.prepared import fit_inputs, prepared_when_read
from mfh.data.selection import complete_only
from mfh.results import Comparison, Diagnosis, MetricInfo, Verdict, environment
from mfh.stats import group_bootstrap, rank_correlation

NUM_RESAMPLES = 1000


@holds()
def diagnose(
    data: PairedDataset,
    teacher: Build | None = None,
    student: Build | None = None,
    *,
    config: DiagnoseConfig | None = None,
    out: Path | str | None = None,
    progress: Progress = "auto",
) -> Diagnosis:
    """Estimate whether crossmodal distillation is likely to help, before students are trained at full cost.

    All samples but the test split are divided into folds (by group if there are groups). For each fold, the
    study's teachers and a few short students are trained on the other folds, and their outputs for this fold
    are computed. From these outputs come
    - gamma_hat, the share of the teacher's outputs that the student's modality explains;
    - companion statistics, each compared with pairs shuffled within classes;
    - the pilot's gain of distillation;
    - a verdict, in the words of a study, with a probability.
    docs/diagnose.md measures how well each of these predicts a study.

    Args:
        data: paired samples of two modalities or more.
        teacher: function without arguments that makes the teacher's network; see `mfh.study`.
        student: the same for the student's network.
        config: the design; see `DiagnoseConfig`.
        out: folder for `results.json`; None writes nothing.
        progress: whether to show progress on stderr; auto shows it in a terminal and in a notebook.

    Returns:
        The verdict, and in `.diagnosis` everything that it is based on; `.frame("companions")` and others
        return tables.

    Raises:
        InputError: the data or the configuration break a rule; there are too few samples or groups for the
            folds.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> label = np.arange(150) % 2
        >>> shared = label[:, None] + rng.normal(size=(150, 3))
        >>> data = PairedDataset.from_arrays(
        ...     {"lidar": np.hstack([shared, rng.normal(size=(150, 3))]), "camera": shared}, label=label
        ... )
        >>> quick = DiagnoseConfig(seeds=1, folds=3, epochs=4, hidden=(8,), num_bootstrap=20, num_shuffles=3)
        >>> found = diagnose(data, config=quick)
        >>> [(row.arm, row.n) for row in found.summary][:2], 0 < found.diagnosis["probability"] < 1
        ([('no-kd', 3), ('regular', 3)], True)
    """
    start = time.perf_counter()
    own = teacher is not None or student is not None
    config = with_modalities(data, config or DiagnoseConfig(), own_networks=own)
    require(
        not config.given_teacher,
        "`diagnose` trains its teachers: leave `teacher_logits` and `frozen_teacher` out, or run a study.",
    )
    sides = (str(config.teacher), str(config.student))
    data = complete_only(data.with_task(config.task), sides, "`diagnose`")
    if config.labelled or not data.labelled.all():
        result = diagnose_few(data, teacher, student, config, progress)
        if out is not None:
            result.save(out)
        return result
    require(
        data.task == "single-label",
        f"`diagnose` needs labels with one class per sample. Got the task {data.task}: run a study instead.",
    )
    seen = take(data, usable_rows(data, config.seed))
    networks = Networks(seen, config, teacher, student)
    folds = [deal(seen, config.folds, config.seed + repeat) for repeat in range(config.num_repeats)]
    evidence = _run(networks, folds, is_shown(progress))
    trained = time.perf_counter() - start
    result = _assemble(seen, config, evidence, folds)
    timings = {"folds": trained, "statistics": time.perf_counter() - start - trained}
    result = replace(result, timings=timings | {"total": time.perf_counter() - start})
    if out is not None:
        result.save(out)
    return result


def _run(networks: Networks, folds: Sequence[np.ndarray], progress: bool) -> list[FoldEvidence]:
    config = networks.config
    units = (3 + 2 * len(PILOT)) * config.epochs
    tasks = [(repeat, fold) for repeat in range(config.num_repeats) for fold in range(config.folds)]
    threads = torch.get_num_threads()
    done: dict[int, FoldEvidence] = {}
    if progress:
        announce(networks, fits=len(tasks), left=len(tasks), workers=config.jobs or 1, threads=threads)
    with (
        open_pool(config.jobs, config.backend, config.address, threads=threads) as pool,
        Bar("folds", units * len(tasks), unit="epochs", show=progress, scaled=True) as bar,
    ):
        for ended in run_tasks(
            run_fold,
            [
                (networks, repeat, fold, folds[repeat], _silent, pool.threads or threads)
                for repeat, fold in tasks
            ],
            pool,
            names=[f"Fold {fold} of seed {config.seed + repeat}" for repeat, fold in tasks],
            retries=config.retries,
        ):
            if ended.exception is not None:  # gamma_hat needs every fold
                raise ended.exception
            assert ended.result is not None  # noqa: S101
            done[ended.number] = ended.result
            bar.advance(units, name=f"fold {len(done)} of {len(tasks)}")
    return [done[number] for number in range(len(tasks))]


def _silent(stage: str, count: int) -> None:
    """Ignore progress within a fold: the bar counts folds."""


def _assemble(
    data: PairedDataset, config: DiagnoseConfig, evidence: Sequence[FoldEvidence], folds: Sequence[np.ndarray]
) -> Diagnosis:
    label = data.label.numpy()
    rng = np.random.default_rng([config.seed, 0xD1A6])
    names = str(config.teacher), str(config.student)
    first = [e for e in evidence if e.repeat == 0]
    outputs = {name: _gather(first, name, len(data)) for name in ("regular", "unimodal", BASELINE)}
    gamma = _gamma(data, names[1], np.stack([e.teacher for e in first]), folds[0], config, rng)
    reverse = _gamma(data, names[0], np.stack([e.unimodal for e in first]), folds[0], config, rng)
    channels, stability = _channels(first, gamma, rng)
    shares = _gamma_dict(gamma) | {"stability": stability, "venn": venn(gamma, reverse)}
    table, pilot, gain, error = _pilot(evidence, data, config)
    belief = believe(gain.difference, error)
    word, probability = name_verdict(belief)
    accuracy = {name: 100 * float((z.argmax(axis=1) == label).mean()) for name, z in outputs.items()}
    teachers = [record for e in evidence for record in e.teachers]
    found = Evidence(
        belief, gain, shares, accuracy["regular"], accuracy[BASELINE], chance_bound(label), teachers,
        best_temperature(outputs["regular"], label),
        [choice.ratio or 0.0 for choice in table.chosen if choice.arm == HEADLINE],
        names,
    )  # fmt: skip
    companions = compare_outputs(
        outputs["regular"], outputs[BASELINE], label, generator=rng, num_shuffles=max(1, config.num_shuffles)
    )
    reasons = explain(found)
    diagnosis: dict[str, Any] = {
        "gamma": shares,
        "verdict": word,
        "probability": probability,
        "belief": asdict(belief)
        | {"help": belief.help, "no_effect": belief.no_effect, "hurt": belief.hurt, "pilot_error": error},
        "reasons": reasons,
        "advice": advise(found, label_weight=config.label_weight),
        "companions": companions,
        "teacher": _describe(evidence, outputs["regular"], label, accuracy, found.chance),
        "pilot": [asdict(comparison) for comparison in pilot],
        "alpha": shares["venn"]["alpha"],
        "beta": shares["venn"]["beta"],
    }
    return Diagnosis(
        config=config.to_dict(),
        environment=environment(),
        records=tuple(record for e in evidence for record in e.records),
        summary=summarize(table, data.kind.metric, Resampling({}, test_over_train=1 / (config.folds - 1))),
        comparisons=pilot,
        teachers=tuple(teachers),
        data=_describe_data(data, names),
        verdict=Verdict(word, None, reasons[0], tuple(reasons[1:])),
        diagnosis=diagnosis,
        channels=channels,
    )


def _gather(evidence: Sequence[FoldEvidence], name: str, count: int) -> np.ndarray:
    """Return logits of every sample by the networks that were not trained on its fold."""
    parts = {"regular": lambda e: e.teacher[e.rows], "unimodal": lambda e: e.unimodal[e.rows]}
    part = parts.get(name, lambda e: e.students[StudentKey(name)])
    table = np.empty((count, part(evidence[0]).shape[1]))
    for e in evidence:
        table[e.rows] = part(e)
    return table


def _gamma(
    data: PairedDataset,
    modality: str,
    logits: np.ndarray,
    folds: np.ndarray,
    config: DiagnoseConfig,
    rng: np.random.Generator,
) -> Gamma:
    rows = torch.arange(len(data))
    seen = prepared_when_read(data, fit_inputs(data, rows, ()))  # tables: missing values are filled in
    values = torch.cat([x.flatten(1) for x in seen.inputs_of(modality, rows)], dim=1).double().numpy()
    return estimate_gamma(
        logits, values, data.label.numpy(), folds, group=data.group, generator=rng,
        num_bootstrap=config.num_bootstrap, num_shuffles=config.num_shuffles,
    )  # fmt: skip


def _gamma_dict(gamma: Gamma) -> dict[str, Any]:
    within = gamma.null_within
    return {
        "estimate": gamma.estimate,
        "low": gamma.low,
        "high": gamma.high,
        "between": gamma.between,
        "within": gamma.within,
        "between_weight": gamma.weight,
        "null": float(gamma.null.mean()) if gamma.null.size else 0.0,
        "null_low": float(gamma.null.min(initial=0.0)),
        "null_high": float(gamma.null.max(initial=0.0)),
        "null_within": float(within.mean()) if within.size else 0.0,
        "null_within_high": float(within.max(initial=0.0)),
        "r2": gamma.r2,
        "linear": gamma.linear,
    }


def venn(gamma: Gamma, reverse: Gamma) -> dict[str, Any]:
    """Return the paper's alpha, beta and gamma, computed from the shares in both directions.

    gamma / (alpha + gamma) is estimated from the teacher's logits, gamma / (beta + gamma) from those of a
    teacher of the student's modality; with alpha + beta + gamma = 1 this gives all three. They are None if a
    share is not above that of shuffled pairs.
    """
    shares = {"teacher_share": gamma.estimate, "student_share": reverse.estimate}
    for name, one in (("teacher", gamma), ("student", reverse)):
        if one.low <= max(0.0, float(one.null.max(initial=0.0))):
            return shares | {
                "alpha": None, "beta": None, "gamma": None,
                "note": f"Not drawn: the shared part of the evidence in the {name}'s modality is not above "
                "that of shuffled pairs.",
            }  # fmt: skip
    a, b = (min(one.estimate, 1.0) for one in (gamma, reverse))
    common = 1 / (1 / a + 1 / b - 1)
    return shares | {
        "alpha": common * (1 / a - 1), "beta": common * (1 / b - 1), "gamma": common,
        "note": "Alpha and beta are estimated from two networks, one for each modality, and a regression: "
        "what the regression misses counts as not shared.",
    }  # fmt: skip


def _channels(
    evidence: Sequence[FoldEvidence], gamma: Gamma, rng: np.random.Generator
) -> tuple[dict[str, np.ndarray], float | None]:
    """Return the channels' contributions for each fold's teacher, and their stability.

    Stability is the mean rank correlation between contributions from two halves of the samples.
    """
    found, stable = [], []
    for e in evidence:
        if e.features is None or e.weight is None:
            return {}, None
        held = center(e.teacher[e.rows])
        scale = np.sqrt(held.var(axis=0).sum())
        s, z, h = gamma.prediction[e.rows], held / max(float(scale), 1e-12), e.features
        found.append(contributions(e.weight, h, s, z) / max(float(scale), 1e-12))
        halves = np.array_split(rng.permutation(len(h)), 2)
        one, two = (contributions(e.weight, h[half], s[half], z[half]) for half in halves)
        stable.append(rank_correlation(one, two))
    known = [value for value in stable if value is not None]
    return {"contribution": np.stack(found)}, float(np.mean(known)) if known else None


def _pilot(
    evidence: Sequence[FoldEvidence], data: PairedDataset, config: DiagnoseConfig
) -> tuple[Table, tuple[Comparison, ...], Comparison, float]:
    """Compare the arms of the pilot; return the table, all comparisons, the main gain and its error."""
    label = data.label.numpy()
    unit = np.arange(len(data)) if data.group is None else np.unique(data.group, return_inverse=True)[1]
    records, correct = [], []
    for e in evidence:
        for record, logits in zip(e.records, e.students.values(), strict=True):
            records.append(record)
            correct.append(100.0 * (logits.argmax(axis=1) == label[e.rows]))
    arms, source = study_arms(data, config), config.teacher_source
    table = tabulate(records, correct, arms=arms, source=source)
    general, base, outcomes = headline_key(arms, source), (BASELINE, None), table.outcomes
    assert general is not None  # noqa: S101 - the pilot has the headline arm
    seeds = sorted(outcomes[base])
    units = {seed: unit[e.rows] for seed, e in zip(seeds, evidence, strict=True)}
    others = [arm for arm in arms if arm.teacher and not arm.like and arm.name != HEADLINE]
    keys = [chosen_key(arm) if arm.has_chosen else (arm.name, None) for arm in others]
    pairs = [(key, base) for key in (general, *keys)] + [(general, key) for key in keys]
    fits = {seed: Fit(seed, 0, codes) for seed, codes in units.items()}
    plan, metric = (
        Resampling(fits, test_over_train=1 / (config.folds - 1), groups=True),
        MetricInfo("accuracy"),
    )
    rows = tuple(compare_arms(outcomes, a, b, plan, metric, num_resamples=NUM_RESAMPLES) for a, b in pairs)
    gain = rows[0]
    both = [(outcomes[general][s].values, outcomes[base][s].values) for s in seeds]
    low, high = group_bootstrap(
        [x - y for x, y in both if x is not None and y is not None],
        [units[s] for s in seeds], generator=np.random.default_rng(0), level=0.6827,
    )  # fmt: skip
    return table, rows, gain, (high - low) / 2


def _describe(
    evidence: Sequence[FoldEvidence],
    logits: np.ndarray,
    label: np.ndarray,
    accuracy: dict[str, float],
    chance: float,
) -> dict[str, Any]:
    """Return accuracy, calibration and confidence of the teacher."""
    regular = [t for e in evidence for t in e.teachers if t.teacher in ("regular", FUSED)]
    return {
        "accuracy": accuracy["regular"],
        "student_accuracy": accuracy[BASELINE],
        "chance": chance,
        "calibration_error": calibration_error(logits, label),
        "entropy": float(np.mean([t.entropy for t in regular])),
        "saturated": float(np.mean([t.saturated for t in regular])),
        "overconfident_in_sample": float(np.mean([e.overconfident for e in evidence])),
    }


def _describe_data(data: PairedDataset, names: tuple[str, str]) -> dict[str, Any]:
    require(len(data) > 0, "`data` must have samples. Got none.")
    return {
        "fingerprint": data.fingerprint,
        "num_samples": len(data),
        "classes": list(data.class_names),
        "num_groups": None if data.group is None else len(np.unique(data.group)),
        "teacher": names[0],
        "student": names[1],
        "shapes": {name: list(data.shape(name)) for name in data.modalities},
    }
