"""Train students, one by one or many at once, with the same results."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import nn

from mfh._checks import choice, listing, require
from mfh.config import TrainConfig
from mfh.models.copies import copied
from mfh.training.diverged import DivergedError
from mfh.training.evaluate import evaluate
from mfh.training.fitting import Epoch
from mfh.training.jobs import StudentFit, StudentJob
from mfh.training.loop import fit
from mfh.training.many import MEMORY, train_many, why_alone
from mfh.training.watched import Watched

__all__ = ["StudentFit", "StudentJob", "seeded", "train_students"]


def train_students(
    jobs: Sequence[StudentJob],
    config: TrainConfig,
    *,
    engine: str = "auto",
    on_progress: Callable[[int], None] | None = None,
    memory: int = MEMORY,
    folders: Sequence[Path] | None = None,
    tolerant: bool = False,
) -> list[StudentFit]:
    """Train students; the networks in `jobs` are not changed.

    Both engines show every student the same batches. Their results differ by rounding alone.

    Args:
        jobs: the students.
        config: how all of them are trained.
        engine: `many` trains them at once, `loop` one by one. `auto` uses `many` for every student whose
            network and data allow it (`mfh.training.many.why_not_many`), unless one batch of the network
            alone keeps the CPU busy; it uses the loop for the others.
        on_progress: called with the number of student-epochs that ended since the last call. They add up to
            `len(jobs) * config.epochs`; epochs that an early stop saves are included.
        memory: bytes that students trained at once may use; see `train_many`.
        folders: one per job, for the checkpoints of the loop. Repeating the call resumes an unfinished
            student and does not repeat a finished one. `many` keeps no checkpoints.
        tolerant: whether the others go on if the loss or a weight of a student is not finite; its fit then
            has a `failure`. Otherwise an error is raised.

    Returns:
        One result per job, in the order of `jobs`.

    Raises:
        InputError: the engine is `many` and a network cannot be trained with others (the text says why); a
            student has nothing to learn from; a loss is not finite (`DivergedError`); a metric is NaN in
            every epoch.
    """
    choice("engine", engine, ("auto", "loop", "many"))
    config = config.settled()
    for number, job in enumerate(jobs):
        _require_job(number, job)
    reasons: Sequence[str | None] = [None] * len(jobs) if engine == "many" else ["asked for"] * len(jobs)
    if engine == "auto":
        reasons = why_alone(jobs, config)
    together = [number for number, reason in enumerate(reasons) if reason is None]
    fits: dict[int, StudentFit] = {}
    if together:
        done = train_many(
            [jobs[n] for n in together], config, on_progress=on_progress, memory=memory, tolerant=tolerant
        )
        fits = dict(zip(together, done, strict=True))
    for number, job in enumerate(jobs):
        if number not in fits:
            folder = None if folders is None else folders[number]
            fits[number] = _train_one(job, job.options(config), on_progress, folder, tolerant)
    return [fits[number] for number in range(len(jobs))]


def seeded(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    """Build a network whose initial weights depend on `seed` alone; the global generator is not changed."""
    with torch.random.fork_rng(devices=[]):
        if torch.accelerator.is_available():
            torch.manual_seed(seed)
        else:  # `torch.manual_seed` would keep a note for each accelerator that may come
            torch.default_generator.manual_seed(seed)
        return build()


def _train_one(
    job: StudentJob,
    config: TrainConfig,
    on_progress: Callable[[int], None] | None,
    folder: Path | None,
    tolerant: bool,
) -> StudentFit:
    """Train one student with the loop."""
    num_epochs, metric = 0, job.chosen_by

    def on_epoch(_: Epoch) -> None:
        nonlocal num_epochs
        num_epochs += 1
        if on_progress is not None:
            on_progress(1)

    model = _watched(job)
    try:
        result = fit(
            model,
            job.data,
            job.objective,
            modalities=job.data.parts(job.modality),
            train=job.train,
            score=lambda network: evaluate(network, job.data, job.modality, job.validation, metric),
            metric=metric,
            config=config,
            seed=job.seed,
            on_epoch=on_epoch,
            checkpoint=folder,
        )
    except DivergedError as error:
        loss = job.objective.loss
        who = job.name or (f"A student with the loss {loss.name}" if loss is not None else "")
        if not tolerant:
            raise error.of(who) from error
        done = StudentFit.failed(error.of(who))
    else:
        state = {name: value.detach().cpu() for name, value in model.state_dict().items()}
        done = StudentFit(
            state=model.student_state(state) if isinstance(model, Watched) else state,
            best_epoch=result.best_epoch,
            validation=tuple(epoch.validation for epoch in result.history),
            loss=tuple(epoch.loss for epoch in result.history),
            seconds=result.seconds,
        )
    if on_progress is not None and num_epochs < config.epochs:
        on_progress(config.epochs - num_epochs)
    return done


def _watched(job: StudentJob) -> nn.Module:
    """Return a copy of the student; it returns its features too if its loss compares them."""
    model, loss, taught = copied(job.model), job.objective.loss, job.objective.teacher_features
    if loss is None or not loss.features or taught is None:
        return model
    require(job.layer is not None, f"`layer` of a student must be named for the loss {loss.name}.")
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    example = job.data.inputs(job.modality, job.train[:2], device=device)
    width = taught.shape[1] if loss.regressor else None
    return seeded(lambda: Watched(model, str(job.layer), width, example), job.seed)


def _require_job(number: int, job: StudentJob) -> None:
    rows = {"train": job.train, "validation": job.validation}
    empty = [name for name, chosen in rows.items() if not len(chosen)]
    require(
        not empty,
        f"{job.called(number)} needs samples for training and validation. It has none for {listing(empty)}.",
    )
    objective = job.objective
    require(
        bool(objective.label_weight) or objective.distils,
        f"{job.called(number)} has nothing to learn from: give its objective a `label_weight` above 0, or "
        "`teacher_logits` and a `distill_weight` above 0.",
    )
