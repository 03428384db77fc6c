"""The progress of a study: a bar with the time left for each stage, and `progress.json`."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from mfh._study.few.fit import units_per_fit
from mfh._study.given import GIVEN
from mfh._study.networks import Networks
from mfh._study.outcome import SeedResult
from mfh._study.search.fit import units_per_fit as units_of_search
from mfh._study.task import teachers_needed
from mfh._system.progress import (
    FILE,
    LINE_EVERY,
    Bar,
    RunState,
    Stage,
    about,
    draws_bars,
    interval,
    now,
    write_line,
)
from mfh._system.signals import raise_if_stopped
from mfh.results import environment

WRITE_EVERY = 2.0  # seconds between two states on disk
UNITS = {"teachers": "epochs", "saliency": "rankings", "students": "epochs"}


def units_per_seed(networks: Networks) -> dict[str, int]:
    """Return the work of each stage for one seed: epochs of all networks, or rankings of channels."""
    if networks.config.searches:
        return units_of_search(networks)
    if networks.few_labels:
        return units_per_fit(networks)
    config, arms = networks.config, networks.arms
    softens, smooths = networks.data.kind.softens, networks.data.kind.smooths
    fits = 1 + config.cross_fit_folds * (config.teacher_outputs == "cross-fit")
    ranks = any(arm.ranking is not None for arm in arms)
    needed = teachers_needed(arms, config.teacher_source)
    teachers = len(needed) - (config.given_teacher and GIVEN in needed)
    teachers += ranks and config.teacher_source != "joint"  # the student that channels are ranked against
    students = 0
    for arm in arms:
        count = arm.count(len(config.ratio), config.random_draws, len(config.smoothing) if smooths else 0)
        if arm.teacher is None:
            students += count
        else:  # a loss of features has no softened arms
            softened = arm.like is not None
            students += count * sum(
                not softened or (softens and not loss.features) for loss in networks.losses.values()
            )
    return {
        "teachers": fits * teachers * config.epochs,
        "saliency": fits,
        "students": students * config.epochs,
    }


class Live:
    """Counts and times the work of the stages, and shows it.

    Args:
        networks: the networks, arms and design of the study.
        seeds: all of its seeds.
        finished: the seeds that an earlier call has finished.
        folder: where `progress.json` is written; None writes none.
        show: whether to show bars on stderr.
        workers: seeds that run side by side.
        cost: seconds of a unit of work by stage, measured before; used until a stage has begun.
    """

    def __init__(
        self,
        networks: Networks,
        seeds: Sequence[int],
        finished: Sequence[int],
        *,
        folder: Path | None,
        show: bool,
        workers: int = 1,
        cost: Mapping[str, float] | None = None,
    ) -> None:
        self.config, self.seeds, self.folder = networks.config, list(seeds), folder
        self.workers, self.cost = workers, cost or {}
        self.finished = list(finished)
        self.units = units_per_seed(networks)
        self.total = {name: units * len(seeds) for name, units in self.units.items()}
        self.done = {name: units * len(finished) for name, units in self.units.items()}
        self.worked = dict.fromkeys(self.units, 0)  # by this call, in `seconds`
        self.seconds = dict.fromkeys(self.units, 0.0)
        self.started = now()
        self._last = self._written = self._said = time.monotonic()
        self._says = show and not draws_bars()
        self.bars = {
            name: Bar(
                name, self.total[name], unit=UNITS[name], done=self.done[name], row=place,
                show=show and not self._says,
                timed=False, scaled=UNITS[name] == "epochs",
            )
            for place, name in enumerate(self.units)
        }  # fmt: skip

    def __enter__(self) -> "Live":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for bar in self.bars.values():
            bar.close()
        if self.folder is not None and kind is not None and (self.folder / FILE).exists():
            self.write(stopped=True)

    def advance(self, stage: str, count: int) -> None:
        """Count some work of a stage in this process, which took the time since the last call."""
        raise_if_stopped()
        moment = time.monotonic()
        self.seconds[stage] += moment - self._last
        self._last = moment
        self._count(stage, count)
        if self.folder is not None and moment - self._written > WRITE_EVERY:
            self.write()
        self._say()

    def end_seed(self, result: SeedResult, *, elsewhere: bool) -> None:
        """Count a finished seed, which ran in this process or `elsewhere`, beside others."""
        self.finished.append(result.seed)
        for stage, units in self.units.items():
            if elsewhere:
                self.seconds[stage] += result.timings.get(stage, 0.0) / self.workers
            self._count(stage, units * len(self.finished) - self.done[stage], worked=units * elsewhere)
        self._last = time.monotonic()
        if self.folder is not None:
            self.write()
        self._say(first=len(self.finished) == 1 < len(self.seeds))

    def stages(self) -> list[Stage]:
        """Return each stage with the time left at its speed so far."""
        return [Stage(name, self.done[name], self.total[name], self._left(name)) for name in self.units]

    def write(self, *, stopped: bool = False) -> None:
        """Write the state to disk."""
        self._written = time.monotonic()
        ended = set(self.finished)
        waiting = [seed for seed in self.seeds if seed not in ended]
        RunState(
            kind="fit" if self.config.searches else "study",
            seeds=self.seeds,
            finished=sorted(ended),
            running=waiting[0] if waiting and self.workers == 1 else None,
            stages=self.stages(),
            started=self.started,
            updated=now(),
            stopped=stopped,
            config=self.config.to_dict(),
            environment=environment(),
        ).save(self.folder or ".")

    def _say(self, *, first: bool = False) -> None:
        """Write a line where no bars are drawn: one a minute, and one after the first fit."""
        moment = time.monotonic()
        if self._says and (first or moment - self._said >= LINE_EVERY):
            self._said = moment
            write_line(self.words())

    def words(self) -> str:
        """Return how far the study has come, and about how much time is left."""
        shares = [f"{len(self.finished)} of {len(self.seeds)} fits"]
        shares += [
            f"{name} {100 * self.done[name] // total}%"
            for name, total in self.total.items()
            if total and self.done[name] < total and name != "saliency"
        ]
        left = [self._left(name) for name in self.units if self.total[name]]
        known = None if None in left else sum(seconds for seconds in left if seconds is not None)
        return ", ".join(shares) + (f": about {about(known)} left" if known else "")

    def _count(self, stage: str, count: int, worked: int | None = None) -> None:
        count = min(count, self.total[stage] - self.done[stage])
        self.done[stage] += count
        self.worked[stage] += count if worked is None else worked
        bar = self.bars[stage]
        left = self._left(stage)
        bar.advance(count, note=None if left is None else f"{interval(left)} left" if left else "")

    def _left(self, stage: str) -> float | None:
        remaining = self.total[stage] - self.done[stage]
        if not remaining:
            return 0.0
        if getattr(self.config, "minutes", None) is not None:
            return None  # the time decides how many students there will be
        if self.worked[stage]:
            return remaining * self.seconds[stage] / self.worked[stage]
        return remaining * self.cost[stage] / self.workers if stage in self.cost else None
