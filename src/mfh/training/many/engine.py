"""Decide which students can be trained together, and train them."""

import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from mfh._checks import require
from mfh.config import TrainConfig
from mfh.losses import DistillLoss
from mfh.models.copies import copied
from mfh.training.device import make_accelerator
from mfh.training.jobs import StudentFit, StudentJob
from mfh.training.many.batched import train_stacked
from mfh.training.many.networks import StackedModule, weights_matrix
from mfh.training.many.perceptron import Perceptron
from mfh.training.many.threads import Threaded, train_threaded

MEMORY = 2**31
"""Default of the bytes that students batched together may use."""
BUSY = 2**20
"""Values of a batch, over all layers, above which batched convolutional students are slower on a CPU."""
Progress = Callable[[int], None]


def why_not_many(job: StudentJob, config: TrainConfig) -> str | None:
    """Return why a student cannot be trained together with others; None if it can.

    Its data must be in memory and not augmented, and the transform must not be random. Its network must have
    no randomness and no buffers (such as running statistics); all weights must have one type and be trained,
    and no layers may share weights. `config` must ask for neither mixed precision nor trackers. The task must
    be single-label, and the loss must not compare features.
    """
    model, data = job.model, job.data
    if (reason := _why_not_its_task(job)) is not None:
        return reason
    if config.precision != "no":
        return f"`precision` is {config.precision}"
    if config.tracker:
        return "`tracker` follows single networks"
    if job.modality in data.augment:
        return f"modality `{job.modality}` is changed at random in training"
    if not isinstance(data.modalities[job.modality], Tensor):
        return f"modality `{job.modality}` is not in memory"
    parameters = list(model.parameters())
    if not parameters or not all(p.requires_grad for p in parameters):
        return "some of its weights are frozen, or it has none"
    if len({p.dtype for p in parameters}) > 1:
        return "its weights have several types"
    if len(parameters) < len(list(model.named_parameters(remove_duplicate=False))):
        return "its layers share weights"
    if next(model.buffers(), None) is not None:
        return "it has buffers, such as the running statistics of a batch normalisation"
    rows = job.train[:3]
    inputs = data.inputs(job.modality, rows)
    if not torch.equal(inputs, torch.cat([data.inputs(job.modality, row[None]) for row in rows])):
        return f"the transform of modality `{job.modality}` gives other values each time"
    if inputs.dtype != parameters[0].dtype:
        return f"its weights are {parameters[0].dtype}, its inputs {inputs.dtype}"
    return None if Perceptron.of(model, inputs.shape[1:]) else _differs(model, inputs)


def _why_not_its_task(job: StudentJob) -> str | None:
    """Return why the inputs or the loss of a student do not suit many at once."""
    if len(job.data.parts(job.modality)) > 1:
        return "it takes several inputs"
    loss = _loss(job)
    if loss is not None and loss.features:
        return f"its loss {loss.name} compares features"
    if loss is not None and job.objective.taught is not None:
        return f"its loss {loss.name} has no outputs of the teacher for some samples"
    return None if job.data.task == "single-label" else f"its task is {job.data.task}"


def train_many(
    jobs: Sequence[StudentJob],
    config: TrainConfig,
    *,
    on_progress: Progress | None = None,
    memory: int = MEMORY,
    tolerant: bool = False,
) -> list[StudentFit]:
    """Train students at once, with the results of `mfh.training.loop.fit`.

    Multilayer perceptrons on the CPU that learn from labels or by KL are trained in as many threads as torch
    uses. Others are batched if they have the same data, modality, rows, seed, loss, metric and shape of
    network, and are trained with the same options.

    Args:
        jobs: the students.
        config: how all of them are trained.
        on_progress: called with the number of student-epochs that ended since the last call.
        memory: approximate bytes that students batched together may use for weights, gradients, the
            optimiser's state, soft labels and activations. If they need more, they are trained in several
            batches. In threads, only one student per thread is in memory.
        tolerant: see `mfh.training.students.train_students`.

    Returns:
        One result per job, in the order of `jobs`. It does not depend on the other jobs, except for rounding
        if students are batched.

    Raises:
        InputError: a network cannot be trained with others; a loss is not finite (`DivergedError`); a metric
            is NaN in every epoch.
    """
    for number, reason in enumerate(why_not(jobs, config)):
        require(
            reason is None,
            f"{jobs[number].called(number)} cannot be trained with others: {reason}. Use engine `loop`.",
        )
    device = make_accelerator(config).device
    report = on_progress or (lambda _: None)
    fits: dict[int, StudentFit] = {}
    alike: dict[object, list[int]] = {}
    threaded: list[Threaded] = []
    for number, job in enumerate(jobs):
        network = _perceptron(job)
        if network and device.type == "cpu" and _loss(job) is None:
            threaded.append(Threaded(number, job, network, _shared(job)))
        else:
            options = job.rate, job.weight_decay, job.chosen_by.name
            key = (_shared(job), _shape(job.model), id(_loss(job)), *options)
            alike.setdefault(key, []).append(number)
    if threaded:
        done = train_threaded(threaded, config, report, tolerant=tolerant)
        fits = {student.number: fit for student, fit in zip(threaded, done, strict=True)}
    for numbers in alike.values():
        size = _chunk(jobs[numbers[0]], config, memory)
        for start in range(0, len(numbers), size):
            chunk = numbers[start : start + size]
            mine = jobs[chunk[0]].options(config)
            done = train_stacked(chunk, [jobs[n] for n in chunk], mine, device, report, tolerant=tolerant)
            fits |= dict(zip(chunk, done, strict=True))
    return [fits[number] for number in range(len(jobs))]


def why_not(jobs: Sequence[StudentJob], config: TrainConfig) -> list[str | None]:
    """Return `why_not_many` of each job."""
    return _each(jobs, lambda job: why_not_many(job, config))


def why_alone(jobs: Sequence[StudentJob], config: TrainConfig) -> list[str | None]:
    """Return why each student should be trained alone: because it must be, or because that is faster."""
    on_cpu = make_accelerator(config).device.type == "cpu"

    def reason(job: StudentJob) -> str | None:
        hard = why_not_many(job, config)
        if hard is None and on_cpu and not _perceptron(job):
            values = _values_per_sample(job) * min(config.batch_size, len(job.train))
            return "one of its batches keeps the CPU busy" if values > BUSY else None
        return hard

    return _each(jobs, reason)


def _each(jobs: Sequence[StudentJob], reason: Callable[[StudentJob], str | None]) -> list[str | None]:
    """Return a reason for each job; it is found once for jobs with the same network, data and loss."""
    known: dict[object, str | None] = {}
    keys = [
        (id(job.model), id(job.data), job.modality, id(job.objective.loss), job.objective.taught is None)
        for job in jobs
    ]
    for key, job in zip(keys, jobs, strict=True):
        if key not in known:
            known[key] = reason(job)
    return [known[key] for key in keys]


def _loss(job: StudentJob) -> DistillLoss | None:
    """Return a student's loss if it is neither cross-entropy nor KL, else None."""
    return job.objective.loss if job.objective.distils else None


def _perceptron(job: StudentJob) -> Perceptron | None:
    return Perceptron.of(job.model, job.data.inputs(job.modality, job.train[:1]).shape[1:])


def _shared(job: StudentJob) -> object:
    """Return a value that is equal for jobs with the same batches."""
    rows = tuple(rows.numpy().tobytes() for rows in (job.train, job.validation))
    return id(job.data), job.modality, rows, job.seed


def _shape(model: nn.Module) -> object:
    """Return a value that is equal for networks that differ in their weights alone."""
    return repr(model), tuple((name, p.shape, p.dtype) for name, p in model.named_parameters())


def _chunk(job: StudentJob, config: TrainConfig, memory: int) -> int:
    """Return how many students of this kind fit into the memory."""
    weights = sum(p.numel() for p in job.model.parameters()) * (6 if config.optimizer == "adamw" else 5)
    targets = 2 * len(job.train) * (job.data.num_classes + 1)
    batch = min(config.batch_size, len(job.train))
    values = 3 * batch * _values_per_sample(job)
    return max(1, memory // ((weights + targets + values) * next(job.model.parameters()).element_size()))


def _values_per_sample(job: StudentJob) -> int:
    """Return the number of values that the layers of a network compute for one sample."""
    model = copied(job.model).cpu()
    count = 0

    def add(_module: nn.Module, _inputs: object, outputs: object) -> None:
        nonlocal count
        count += outputs.numel() if isinstance(outputs, Tensor) else 0

    for module in model.modules():
        if next(module.children(), None) is None:
            module.register_forward_hook(add)
    with torch.no_grad():
        model.eval()(job.data.inputs(job.modality, job.train[:1]))
    return count


def _differs(model: nn.Module, inputs: Tensor) -> str | None:
    """Return why a network gives other values if it is batched; None if it does not."""
    inputs = inputs.to(next(model.parameters()).device)
    try:
        weights = weights_matrix([model, model], inputs.device)
        with warnings.catch_warnings():  # torch computes some operations one network after the other
            warnings.filterwarnings("error", ".*performance drop", UserWarning)
            stacked = StackedModule(model, weights, torch.zeros_like(weights)).forward(inputs)
        alone = copied(model).train()(inputs).detach()
    except (RuntimeError, ValueError, TypeError, AttributeError, UserWarning) as error:
        return f"it cannot be batched ({str(error).splitlines()[0]})"
    if stacked.shape[1:] != alone.shape or not torch.allclose(stacked, alone.expand_as(stacked), atol=1e-5):
        return "batched, it gives other values"
    return None
