"""What drives a search best: random recipes, successive halving, or Optuna's TPE, with equal budgets.

    python -m benchmarks._search --mfeat mfeat.npz --out search.json

In each fit the teachers are trained once. Then each driver searches taught recipes with the same number of
students: `random` judges every recipe on all folds, `halving` lets half of them go on from fold to fold
(`mfh.fit`), and `tpe` does the same with recipes that Optuna's tree-structured Parzen estimator proposes
(ask and tell; recipes that do not go on are told as pruned). The recipe is chosen as in `mfh.fit`, trained on
all labels, and tested. These directions of UCI's digits served to set up the search; docs/results.md has
others.
Needs `pip install optuna`.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mfh import FitConfig, PairedDataset
from mfh._study.design import Design
from mfh._study.few.fit import visible_data
from mfh._study.few.members import divide_labelled
from mfh._study.networks import Networks, with_modalities
from mfh._study.search.choose import ERRORS, choose
from mfh._study.search.fit import Candidates
from mfh._study.search.halving import Tried, search
from mfh._study.search.lessons import make_lessons, prepare_teachers
from mfh._study.search.space import Space
from mfh._study.task import SeedTask
from mfh._study.teachers import trained
from mfh.arms import STACK
from mfh.recipe import Recipe
from mfh.stats import t_interval

DIRECTIONS = (("fac", "zer"), ("zer", "fou"), ("pix", "mor"), ("fou", "kar"))
SHARES = ("0.1", "0.3", "1")
DRIVERS = ("random", "halving", "tpe")


class Parzen:
    """Optuna's sampler behind the two functions that a search needs."""

    def __init__(self, space: Space, seed: int) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.optuna, self.space = optuna, space
        sampler = optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True)
        self.study = optuna.create_study(direction="maximize", sampler=sampler)
        self.asked: dict[int, Any] = {}

    def draw(self, count: int) -> list[Recipe]:
        """Ask for recipes."""
        recipes = []
        for _ in range(count):
            trial = self.study.ask()
            values = {
                name: trial.suggest_categorical(name, sorted(set(options), key=str))
                for name, options in self.space.options.items()
                if name != "smoothing"
            }
            recipe = Recipe(**values)
            if trial.suggest_categorical("hard", [False, True]) and self.space.softens:
                recipe = replace(recipe, hard=True, temperature=1.0, loss="kl")
            ratio = trial.suggest_categorical("ratio", [0.0, *self.space.ratios])
            if recipe.teacher == self.space.source and ratio:
                recipe = replace(recipe, focus="general", ratio=ratio)
            self.asked[id(recipe)] = trial
            recipes.append(recipe)
        return recipes

    def learn(self, one: Tried, folds: int) -> None:
        """Tell the merit on each fold; a recipe without all folds is told as pruned."""
        trial = self.asked[id(one.recipe)]
        for fold, (merit, _) in enumerate(one.merits):
            trial.report(merit, fold)
        pruned = len(one.merits) < folds
        state = self.optuna.trial.TrialState
        if pruned:
            self.study.tell(trial, state=state.PRUNED)
        else:
            self.study.tell(trial, one.merit[0])


def run_fit(networks: Networks, seed: int, budget: int) -> dict[str, float]:
    """Return the test metric of what each driver chooses in one fit, and that of the fixed stack."""
    design = Design.of(networks.data, networks.config)
    split = design.draw(networks.data, networks.config, seed)
    task = SeedTask(networks=networks, seed=seed, split=split, threads=1, arms=networks.arms)
    data, truth = visible_data(task)
    space, parts = Space.of(networks), divide_labelled(task, data)
    prepared = prepare_teachers(task, data, parts, focused=True)
    lessons = make_lessons(task, data, prepared, Recipe())
    both = Candidates(task, data, parts, lessons)
    folds, found = len(parts) - 1, {}
    rows = both.judged
    for driver in DRIVERS:
        rng, parzen = np.random.default_rng(seed), Parzen(space, seed) if driver == "tpe" else None
        tried = search(
            parzen.draw if parzen else lambda count, rng=rng: space.draw(count, rng, taught=True),
            both.judge,
            fixed=[Recipe(teacher=STACK)],
            folds=folds,
            budget=budget,
            kept=1 if driver == "random" else 2,
            learn=(lambda one, parzen=parzen: parzen.learn(one, folds)) if parzen else lambda _: None,
        )
        best = choose(tried, tried[0], data.label[rows], None, task.metric, ERRORS).best
        found |= {driver: _test(both, truth, best), f"{driver}, held-out": _best(tried, folds)}
        found["stack"] = _test(both, truth, tried[0])
    return found


def _best(tried: Sequence[Tried], folds: int) -> float:
    """Return the best metric on held-out labelled samples, which a driver tries to raise."""
    return max(one.merit[0] for one in tried if len(one.merits) == folds)


def _test(both: Candidates, truth: PairedDataset, one: Tried) -> float:
    task = both.task
    ((job, fit),) = both.train([one.recipe], -1)
    logits = task.predict(trained(job, fit), both.data, "student")
    return task.metric(logits[task.test], truth.label[task.test])


def main() -> None:
    """Run all fits that are not in the file yet, and print the differences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--mfeat", required=True, help="of `mfh data mfeat`")
    parser.add_argument(
        "--out", default="search.json", help="file of the results, which a second call goes on with"
    )
    parser.add_argument("--fits", type=int, default=5)
    parser.add_argument("--budget", type=int, default=100)
    options = parser.parse_args()
    path = Path(options.out)
    found = json.loads(path.read_text()) if path.exists() else {}
    data = PairedDataset.from_npz(options.mfeat)
    for share in SHARES:
        for teacher, student in DIRECTIONS:
            config = FitConfig(teacher=teacher, student=student, labelled=(share,), device="cpu")
            networks = Networks(data, with_modalities(data, config))
            for seed in range(options.fits):
                name = f"{teacher}>{student} {share} {options.budget} {seed}"
                if name not in found:
                    found[name] = run_fit(networks, seed, options.budget)
                    path.write_text(json.dumps(found, indent=1))
    for share in (*SHARES, ""):
        rows = [row for name, row in found.items() if share in ("", name.split()[1])]
        for key in ("tpe", "random", "stack", "tpe, held-out", "random, held-out"):
            other = "halving, held-out" if "held-out" in key else "halving"
            gap = t_interval(np.array([row[key] - row[other] for row in rows]))
            span = f"{gap.mean:+.2f} ({gap.low:+.2f} to {gap.high:+.2f})"
            print(f"{share or 'all':4} {key} minus {other}: {span}, {len(rows)} fits")


if __name__ == "__main__":
    main()
