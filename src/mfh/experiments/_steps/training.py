"""The trainings of a partial study: Algorithm 1's pair, and networks that are trained alone."""

import logging

from jaxtyping import Float, Int
from torch import Tensor, nn

from mfh._checks import InputError
from mfh._saliency.heads import evaluating
from mfh._study.task import derived_seed
from mfh._system.signals import defer_signals
from mfh.data.paired import PairedDataset
from mfh.experiments._steps.partial_study import PartialStudy
from mfh.experiments._steps.parts import cached_samples
from mfh.experiments._steps.saliency import OUTPUTS
from mfh.training.evaluate import predict
from mfh.training.loop import LoopResult, fit
from mfh.training.objectives import Distill, Joint, Pair
from mfh.training.teacher_outputs import teacher_logits

logger = logging.getLogger(__name__)


def train_pair(partial: PartialStudy, progress: bool) -> None:
    """Train Algorithm 1's pair (step 1) and keep its last epoch, as released; skip it if it is finished.

    Labels count where there are any, and the distance on every training sample; see `Joint`.
    """
    if all(partial.has(name) for name in ("teacher-joint", "student-joint")):
        return
    config, seed = partial.config, partial.config.seed
    pair = Pair(partial.network("teacher", "teacher"), partial.network("student", "joint student"))
    require_fits(partial, pair.teacher, config.teacher)
    require_fits(partial, pair.student, config.student)
    fit(
        pair,
        partial.data,
        Joint(label_share=len(partial.labelled) / len(partial.train)),
        modalities=(config.teacher, config.student),
        train=partial.train,
        config=partial.train_config(config.teacher, config.student),
        seed=derived_seed(seed, "batches"),
        checkpoint=partial.training("pair", seed),
        save_end=False,
        progress=progress,
    )
    with defer_signals():
        partial.save_weights("teacher-joint", pair.teacher)
        partial.save_weights("student-joint", pair.student)
    partial.drop_training("pair", seed)


def train_teacher(partial: PartialStudy, progress: bool) -> None:
    """Train a regular teacher and keep its best epoch; skip it if it is finished."""
    name, seed = "teacher-regular", partial.config.seed
    if partial.has(name):
        return
    model = partial.network("teacher", "teacher")
    fit_alone(partial, name, model, partial.config.teacher, Distill(), seed, progress)
    with defer_signals():
        partial.save_weights(name, model)
    partial.drop_training(name, seed)


def describe_teachers(partial: PartialStudy, *names: str) -> None:
    """Save the records of the `joint` or `regular` teacher for the results."""
    for name in names:
        describe_teacher(partial, name, partial.trained(f"teacher-{name}"))


def describe_teacher(
    partial: PartialStudy, name: str, teacher: nn.Module, *, drawn: int | None = None
) -> Float[Tensor, "sample output"]:
    """Save a teacher's record, and return its logits for every sample.

    Args:
        partial: the folder.
        name: its name in the results, such as `joint` or `random@0.5`.
        teacher: the network.
        drawn: the seed of the student, if this seed drew the channels that the teacher lost.
    """
    file = name.replace("@", "-") + ("" if drawn is None else f"-seed-{drawn:04d}")
    sees, folder = partial.config.teacher, partial.out / OUTPUTS
    logits = teacher_logits(teacher, partial.data, sees, folder=folder, name=file)
    partial.add_teacher(name, logits, seed=partial.config.seed if drawn is None else drawn)
    return logits


def fit_alone(
    partial: PartialStudy,
    name: str,
    model: nn.Module,
    modality: str,
    objective: Distill,
    seed: int,
    progress: bool,
) -> LoopResult:
    """Train one network and load the weights of its best validation epoch; the caller must save them.

    Without a teacher it learns from the labelled training samples alone.
    """
    require_fits(partial, model, modality)
    train = partial.train if objective.distils else partial.labelled
    if len(train) < len(partial.train):
        logger.info(
            "%s learns from %d labelled samples: %d training samples without a label are left out",
            name, len(train), len(partial.train) - len(train),
        )  # fmt: skip
    metric, labels = partial.metrics[0], partial.data.label[partial.validation]
    return fit(
        model,
        partial.data,
        objective,
        modalities=(modality,),
        train=train,
        score=lambda m: metric(predict_rows(m, partial.data, modality, partial.validation), labels),
        metric=metric,
        config=partial.train_config(modality),
        seed=derived_seed(seed, "batches"),
        checkpoint=partial.training(name, seed),
        save_end=False,
        progress=progress,
    )


def require_fits(partial: PartialStudy, model: nn.Module, modality: str) -> None:
    """Raise `InputError` if a network fails on one sample of the data; call it before any training."""
    inputs = partial.data.inputs(modality, partial.train[:1])
    try:
        with evaluating(model):
            model(inputs)
    except RuntimeError as error:
        raise InputError(
            f"`data` must have samples that the {modality} network accepts. Those of {modality} have the "
            f"shape {tuple(inputs.shape[1:])}, on which the network fails ({str(error).splitlines()[0]}): "
            "prepare larger ones."
        ) from error


def predict_rows(
    model: nn.Module, data: PairedDataset, modality: str, rows: Int[Tensor, " sample"]
) -> Float[Tensor, "sample output"]:
    """Return the logits of some rows; if several processes run, each computes its share.

    On a CPU as many samples are computed at a time as `cached_samples` says.
    """
    on_cpu = next(model.parameters()).device.type == "cpu"
    size = cached_samples(data, modality) if on_cpu else None
    return predict(model, data, modality, rows, batch_size=size, shared=True)
