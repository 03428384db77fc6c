"""The distillation losses of a study: made, and checked before anything is trained."""

from mfh._checks import listing, require
from mfh.config import StudyConfig
from mfh.loss_options import BUILT_IN
from mfh.losses import DistillLoss, build_loss
from mfh.training.objectives import require_labels_for


def study_losses(
    config: StudyConfig, task: str = "single-label", *, few_labels: bool = False
) -> dict[str, DistillLoss]:
    """Return the losses of a study by name, in the order of `config.losses`.

    `kl` is the task's own loss of soft labels: see `Task.soft_loss`.

    Args:
        config: the options of the study.
        task: what is predicted.
        few_labels: whether some samples have no label; a loss then compares logits without the label.

    Raises:
        InputError: a loss does not exist, or needs what the configuration does not give.
    """
    losses = {name: build_loss(name, config) for name in config.losses}
    classes = [name for name in losses if name in BUILT_IN and BUILT_IN[name].needs_classes]
    require(
        task == "single-label" or not classes,
        f"`losses` must not contain {listing(classes)} for the task {task}: they need one class for each "
        "sample. Use kl (the task's own soft loss), hints or rkd.",
    )
    if few_labels:
        require_labels_for(losses.values(), labelled=False)
        wrong = [name for name, loss in losses.items() if loss.features]
        require(
            not wrong,
            f"`losses` must compare logits where samples have no label. Got {listing(wrong)}, which compare "
            "features: use kl or dist.",
        )
    unlabelled = [name for name, loss in losses.items() if loss.needs_labels]
    require(
        not unlabelled or config.label_weight > 0,
        f"`label_weight` must be above 0 for {listing(unlabelled)}: they do not teach which class a sample "
        f"has. Got {config.label_weight}: use, for example, 1.",
    )
    whole = [name for name, loss in losses.items() if loss.batchwise]
    require(
        not whole or config.micro_batch is None or config.micro_batch >= config.batch_size,
        f"`micro_batch` must be left out for {listing(whole)}: they compare the samples of a batch with each "
        f"other, so a batch cannot be divided. Got {config.micro_batch} for batches of {config.batch_size}.",
    )
    alone = [name for name, loss in losses.items() if loss.features]
    require(
        not alone or config.engine != "many",
        f"`engine` must be `auto` or `loop` for {listing(alone)}: students that compare features "
        "are trained one by one. Got 'many'.",
    )
    return losses
