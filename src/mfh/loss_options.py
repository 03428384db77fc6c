"""Options of the distillation losses: one small dataclass per loss. Free of torch.

To add a loss, write its function in `mfh.losses` and its class and its place in `BUILT_IN` here;
nothing else lists losses. The class
says how the loss is called, which options it has and what it needs.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar, Literal

from mfh._checks import InputError, listing

Number = int | float | bool
Reads = Literal["logits", "labelled logits", "features", "contrast"]


def _option(default: Number, rule: str, holds: Callable[[Any], bool]) -> Any:
    return field(default=default, metadata={"rule": rule, "holds": holds})


def _weight(default: float) -> Any:
    return _option(default, "be 0 or more", lambda value: 0 <= value < float("inf"))


def _positive(default: float) -> Any:
    return _option(default, "be above 0", lambda value: 0 < value < float("inf"))


@dataclass(frozen=True, kw_only=True)
class LossOptions:
    """A distillation loss: its options, and what it needs. The base of one class per loss.

    Attributes:
        function: name of the loss function in `mfh.losses`; the options are its keyword arguments.
        reads: what the function compares: logits, logits with labels, features, or (contrast) features with
            those of all training samples.
        takes_temperature: whether it takes the temperature of the config too.
        needs_classes: whether it is defined only where each sample has one class.
        regressor: whether a trained linear map brings the student's features to the teacher's width.
        not_all_zero: options of which one at least must be above 0.
    """

    function: ClassVar[str]
    reads: ClassVar[Reads] = "logits"
    takes_temperature: ClassVar[bool] = False
    needs_classes: ClassVar[bool] = False
    regressor: ClassVar[bool] = False
    not_all_zero: ClassVar[tuple[str, ...]] = ()

    @property
    def batchwise(self) -> bool:
        """Whether it compares the samples of a batch with each other."""
        return False

    @property
    def features(self) -> bool:
        """Whether it compares features of a layer."""
        return self.reads in ("features", "contrast")

    @classmethod
    def reads_labels(cls) -> bool:
        """Return whether it reads the label of each sample."""
        return cls.reads in ("labelled logits", "contrast")

    @property
    def needs_labels(self) -> bool:
        """Whether it cannot teach classes without labels."""
        return self.features

    @property
    def uses_memory(self) -> bool:
        """Whether it compares samples with the teacher's features of all training samples."""
        return False

    @property
    def parameters(self) -> dict[str, Number]:
        """Keyword arguments of the loss function."""
        return asdict(self)

    @classmethod
    def broken_rules(cls, values: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], str, object]]:
        """Yield, for each rule that `values` break: the options it is about, the rule, and what came."""
        known = {spec.name: spec for spec in fields(cls)}
        for option in (name for name in values if name not in known):
            yield (), f"name options of {cls.__name__.lower()}: {listing(known)}", option
        for option in (name for name in values if name in known):
            spec, value = known[option], values[option]
            if isinstance(spec.default, bool) != isinstance(value, bool):
                kind = "true or false" if isinstance(spec.default, bool) else "a number"
                yield (option,), f"be {kind}", value
            elif not isinstance(value, (int, float)):
                yield (option,), "be a number", value
            elif not spec.metadata["holds"](value):
                yield (option,), spec.metadata["rule"], value
        together = tuple(values.get(name, known[name].default) for name in cls.not_all_zero)
        if together and all(value == 0 for value in together):
            yield cls.not_all_zero, "not both be 0", together


@dataclass(frozen=True, kw_only=True)
class Kl(LossOptions):
    """Soft labels; for tasks other than single-label the task's own loss of soft labels."""

    function = "kl_divergence"
    takes_temperature = True


@dataclass(frozen=True, kw_only=True)
class Dkd(LossOptions):
    """Decoupled distillation.

    Attributes:
        alpha: weight of the label's class against all others, 0 or more.
        beta: weight of the classes other than the label, 0 or more.
    """

    function, reads = "dkd", "labelled logits"
    takes_temperature = needs_classes = True
    not_all_zero = ("alpha", "beta")
    alpha: float = _weight(1.0)
    beta: float = _weight(8.0)

    @classmethod
    def reads_labels(cls) -> bool:
        """Return whether it reads the label of each sample."""
        return cls.reads in ("labelled logits", "contrast")

    @property
    def needs_labels(self) -> bool:
        """See `LossOptions`."""
        return self.alpha == 0


@dataclass(frozen=True, kw_only=True)
class Dist(LossOptions):
    """Soft labels up to correlation.

    Attributes:
        inter: weight of the correlation along classes, 0 or more.
        intra: weight of the correlation along the batch, 0 or more.
    """

    function = "dist"
    takes_temperature = needs_classes = True
    not_all_zero = ("inter", "intra")
    inter: float = _weight(1.0)
    intra: float = _weight(1.0)

    @property
    def batchwise(self) -> bool:
        """See `LossOptions`."""
        return self.intra > 0


@dataclass(frozen=True, kw_only=True)
class Hints(LossOptions):
    """Features, through a trained linear map.

    Attributes:
        weight: of the loss, above 0.
    """

    function, reads, regressor = "hints", "features", True
    weight: float = _positive(1.0)


@dataclass(frozen=True, kw_only=True)
class Rkd(LossOptions):
    """Distances and angles between the features of a batch.

    Attributes:
        distance: weight of distances, 0 or more.
        angle: weight of angles, 0 or more.
    """

    function, reads = "rkd", "features"
    not_all_zero = ("distance", "angle")
    distance: float = _weight(25.0)
    angle: float = _weight(50.0)

    @property
    def batchwise(self) -> bool:
        """See `LossOptions`."""
        return True


@dataclass(frozen=True, kw_only=True)
class Crd(LossOptions):
    """Contrast of the same sample's features with those of other classes.

    Attributes:
        temperature: of the contrast, above 0.
        memory: whether the other samples are all training samples, not those of the batch.
    """

    function, reads, regressor = "crd", "contrast", True
    needs_classes = True
    temperature: float = _positive(0.07)
    memory: bool = _option(False, "be true or false", lambda _: True)

    @property
    def batchwise(self) -> bool:
        """See `LossOptions`."""
        return not self.memory

    @property
    def uses_memory(self) -> bool:
        """See `LossOptions`."""
        return self.memory

    @property
    def parameters(self) -> dict[str, Number]:
        """See `LossOptions`."""
        return {"temperature": self.temperature}


@dataclass(frozen=True, kw_only=True)
class Ntdh(LossOptions):
    """Soft labels, without samples that the teacher gets wrong and that both see differently.

    Attributes:
        similarity: cosine of the logits, in [-1, 1], that keeps a sample which the teacher gets wrong.
    """

    function, reads = "ntdh", "labelled logits"
    takes_temperature = needs_classes = True
    similarity: float = _option(0.996, "lie in [-1, 1]", lambda value: -1 <= value <= 1)


@dataclass(frozen=True, kw_only=True)
class C2kd(LossOptions):
    """Classes other than the label, of samples whose logits rank alike.

    Attributes:
        threshold: rank correlation of the logits, in [-1, 1), above which a sample is kept.
    """

    function, reads = "c2kd", "labelled logits"
    takes_temperature = needs_classes = True
    threshold: float = _option(0.0, "lie in [-1, 1)", lambda value: -1 <= value < 1)

    @classmethod
    def reads_labels(cls) -> bool:
        """Return whether it reads the label of each sample."""
        return cls.reads in ("labelled logits", "contrast")

    @property
    def needs_labels(self) -> bool:
        """See `LossOptions`."""
        return True


BUILT_IN: dict[str, type[LossOptions]] = {
    kind.__name__.lower(): kind for kind in LossOptions.__subclasses__()
}
LOSSES: dict[str, Any] = dict(BUILT_IN)
"""Losses by name; `mfh.losses.register_loss` adds to them."""


def loss_options(name: str, values: Mapping[str, Number]) -> LossOptions:
    """Return the options of a loss that comes with mfh.

    Args:
        name: of the loss.
        values: option -> value; those left out have their defaults.

    Raises:
        InputError: the loss has no such option; the text lists those it has.

    Example:
        >>> loss_options("dkd", {"beta": 4.0})
        Dkd(alpha=1.0, beta=4.0)
    """
    kind = BUILT_IN[name]
    require_known(name, values, [spec.name for spec in fields(kind)])
    return kind(**{k: v if isinstance(v, bool) else float(v) for k, v in values.items()})


def require_known(loss: str, values: Mapping[str, Number], known: list[str]) -> None:
    """Raise `InputError` if a loss is given options that it does not have."""
    unknown = [option for option in values if option not in known]
    if unknown:
        has = f"has {listing(known)}" if known else "has no options"
        raise InputError(f"`loss_options` must name options of {loss}, which {has}. Got {listing(unknown)}.")


def broken_rules(options: object) -> Iterator[tuple[str, str, object]]:
    """Yield what is wrong with the `loss_options` of a config: the place, the rule, and what came.

    Options of a loss of your own are checked when the loss is built, since its function may not be imported.
    """
    if not isinstance(options, Mapping):
        yield "loss_options", "map names of losses to their options, such as {dkd: {beta: 4}}", options
        return
    for name, values in options.items():
        place = f"loss_options.{name}"
        if not isinstance(name, str) or not (name in LOSSES or "." in name or ":" in name):
            yield "loss_options", f"name losses: {listing(LOSSES)}, or an import path that `loss` names", name
        elif not isinstance(values, Mapping):
            yield place, "map options to values, such as {beta: 4}", values
        elif name in BUILT_IN:
            for about, rule, value in BUILT_IN[name].broken_rules(values):
                yield "` and `".join(f"{place}.{option}" for option in about) or place, rule, value


def moved(name: str) -> str | None:
    """Return how a field or flag of earlier versions, such as `dkd_beta`, is spelled now; None for others."""
    loss, _, option = name.replace("-", "_").partition("_")
    has = loss in BUILT_IN and option in {spec.name for spec in fields(BUILT_IN[loss])}
    return f"loss_options: {{{loss}: {{{option}: ...}}}}" if has else None
