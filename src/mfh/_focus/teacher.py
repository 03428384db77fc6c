"""A teacher with some channels of a layer removed."""

import inspect
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mfh._checks import InputError, choice, listing, one_line, require
from mfh._focus.channels import ambiguous, channels_second
from mfh._focus.inventory import find, find_channel_dim, uncompiled
from mfh._focus.outputs import part_of, with_part
from mfh._focus.splitting import Hooked
from mfh._system.files import bytes_writer, checksum, json_writer, read_json, require_files, write_together

SCHEMA_VERSION = 1
WEIGHTS, DESCRIPTION = "model.safetensors", "focus.json"


class FocusedTeacher(Hooked):
    """A model with some channels of one layer's output replaced by fixed values, without retraining.

    The values are the same for every sample, so no output depends on the other samples of a batch. (In the
    released code it does, because batch means are the values.) The model is shared, not copied, and does not
    change when it is used directly or wrapped by another teacher. If the layer returns a tuple or an object,
    the tensor that `layers` shows is changed. A compiled model runs without `torch.compile`.

    Args:
        model: the teacher, any module. Its mode does not change, so call `.eval()` for deterministic outputs.
        layer: name of a submodule that is called once in a forward pass; see `layers`.
        removed: indices of the removed channels; see `select`.
        fill: finite values that replace them: for each removed channel or for all channels, (channel,) or
            (channel, *position), as from `channel_means`; "zero"; or a number.
        channel_dim: the dimension of the layer's output that is the channels; by default it is found, as by
            `layers`, at the first call.

    Raises:
        InputError: an argument breaks its rule. If only the layer's output shows this, the first call raises.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
        >>> teacher = FocusedTeacher(model, "0", [0, 2], "zero")
        >>> x = torch.ones(1, 2)
        >>> hidden = model[0](x) * torch.tensor([0.0, 1.0, 0.0])
        >>> torch.equal(teacher(x), model[1](hidden))
        True
    """

    removed: Tensor
    fill: Tensor

    def __init__(
        self, model: nn.Module, layer: str, removed: object, fill: object, *, channel_dim: int | None = None
    ) -> None:
        model = uncompiled(model)
        super().__init__(model, layer)
        find(model, layer, "FocusedTeacher")
        indices, order = _indices(removed)
        self.channel_dim = channel_dim
        self.num_channels: int | None = None
        self.largest = (
            int(indices[-1]) if len(indices) else -1
        )  # read once, since it may be on an accelerator
        values = _fill_values(fill, len(indices))
        if len(values) == len(indices):
            values = values[order]
        else:
            self.num_channels = len(values)
            _check_range(self.largest, len(values))
            values = values[indices]
        device = next((parameter.device for parameter in model.parameters()), values.device)
        self.register_buffer("removed", indices.to(device))
        self.register_buffer("fill", values.to(device))

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return the model's output with the channels replaced."""
        calls = 0

        def focus(output: Any) -> Any:
            nonlocal calls
            calls += 1
            part, tensor = part_of(output)
            if tensor is not None and self.channel_dim is None and tensor.ndim > 2:
                raise _UnknownDimensionError(tuple(tensor.shape))
            return with_part(output, part, self._replace(output if tensor is None else tensor))

        try:
            result = self.run(focus, *args, **kwargs)
        except _UnknownDimensionError as unknown:
            self.channel_dim = self._find_channel_dim(args, kwargs, unknown.shape)
            return self.forward(*args, **kwargs)
        require(
            calls == 1,
            "`layer` of `FocusedTeacher` must be called once in a forward pass. "
            f"`{self.layer}` is called {calls} times: name another layer.",
        )
        return result

    def _find_channel_dim(self, args: tuple[Any, ...], kwargs: dict[str, Any], shape: tuple[int, ...]) -> int:
        if args and kwargs:
            names = list(inspect.signature(self.model.forward).parameters)
            kwargs, args = dict(zip(names, args, strict=False)) | kwargs, ()
        require(not torch.compiler.is_compiling(), ambiguous(self.layer, shape))
        return find_channel_dim(self.model, self.layer, kwargs or args)

    def _replace(self, output: Any) -> Tensor:
        dim = 1 if self.channel_dim is None else self.channel_dim
        features = channels_second(output, dim, "FocusedTeacher")
        num_samples, num_channels, *positions = features.shape
        require(
            self.num_channels in (None, num_channels),
            f"`fill` of `FocusedTeacher` must contain a value for each of {len(self.removed)} removed "
            f"channels or of all {num_channels} of `{self.layer}`. Got {self.num_channels} values.",
        )
        _check_range(self.largest, num_channels)
        if len(self.removed) == 0:
            return output
        require(
            self.fill.ndim == 1 or list(self.fill.shape[1:]) == positions,
            f"`fill` of `FocusedTeacher` must have one value per channel or one for each of its positions "
            f"{tuple(positions)}. Got positions {tuple(self.fill.shape[1:])}.",
        )
        values = self.fill if self.fill.ndim > 1 else self.fill.view(-1, *(1 for _ in positions))
        values = values.to(features).expand(num_samples, -1, *positions)
        replaced = features.index_copy(1, self.removed.to(features.device), values)
        return replaced.movedim(1, dim)

    def extra_repr(self) -> str:
        """Return layer and number of removed channels, for `print`."""
        return f"{super().extra_repr()}, removed={len(self.removed)}"

    def save(self, folder: Path | str) -> Path:
        """Write the model's weights to `model.safetensors` and the rest to `focus.json`; return the folder.

        Raises:
            InputError: the folder cannot be written.
        """
        folder = Path(folder)
        state = self.model.state_dict()
        other = [name for name, value in state.items() if not isinstance(value, Tensor)]
        require(
            not other,
            f"`model` must have a state dict of tensors only to be saved. {listing(other)} are none.",
        )
        # copies, since the format refuses tensors that share memory, such as tied weights
        weights = {name: value.detach().cpu().contiguous().clone() for name, value in state.items()}
        content = safetensors.torch.save(weights)
        description = {
            "schema_version": SCHEMA_VERSION,
            "layer": self.layer,
            "channel_dim": self.channel_dim,
            "removed": self.removed.tolist(),
            "fill": self.fill.tolist(),
            "fill_dtype": str(self.fill.dtype).removeprefix("torch."),
            "shapes": {name: list(value.shape) for name, value in weights.items()},
            "files": {WEIGHTS: checksum(content)},
        }
        write_together(
            {
                folder / WEIGHTS: bytes_writer(content),
                folder / DESCRIPTION: json_writer(description, sealed=True),
            }
        )
        return folder

    @classmethod
    def load(cls, folder: Path | str, model: nn.Module) -> "FocusedTeacher":
        """Read what `save` wrote, and load the weights into `model`, which is shared, not copied.

        Args:
            folder: the folder of `save`.
            model: a module of the same architecture; it does not change if anything does not fit.

        Raises:
            InputError: files are missing, damaged or of two different teachers, or a parameter does not fit.
        """
        folder = Path(folder)
        try:
            description = read_json(folder / DESCRIPTION, sealed=False)
            require_files(folder, description.get("files", {}), DESCRIPTION)
            weights = safetensors.torch.load((folder / WEIGHTS).read_bytes())
            version = description["schema_version"]
            require(
                version == SCHEMA_VERSION,
                f"`{folder / DESCRIPTION}` has schema version {version}; this mfh reads {SCHEMA_VERSION}. "
                "Install the version of mfh that wrote it.",
            )
            fill = torch.tensor(description["fill"], dtype=getattr(torch, description["fill_dtype"]))
            shapes = {name: tuple(shape) for name, shape in description["shapes"].items()}
            layer, removed = str(description["layer"]), torch.tensor(description["removed"])
            dim = description["channel_dim"]
            if not (dim is None or type(dim) is int):
                raise ValueError(f"`channel_dim` is {dim!r}")
            found = {name: tuple(value.shape) for name, value in weights.items()}
            _check_shapes(found, shapes, f"`{DESCRIPTION}`, so the files are of two different teachers")
            own = {name: tuple(value.shape) for name, value in model.state_dict().items()}
            _check_shapes(found, own, "`model`: pass one of the architecture that was saved")
            teacher = cls(model, layer, removed, fill, channel_dim=dim)
            model.load_state_dict(weights)
            return teacher
        except FileNotFoundError as error:
            raise InputError(
                f"`{error.filename}` does not exist. Name a folder that `FocusedTeacher.save` wrote."
            ) from None
        except InputError:
            raise
        except Exception as error:
            reason = one_line(error)
            raise InputError(
                f"`{folder}` cannot be read as a focused teacher: {reason}. Save it again."
            ) from error


class _UnknownDimensionError(BaseException):
    """The channel dimension of a layer's output is unknown. Model code that catches `Exception` passes it."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__(shape)
        self.shape = shape


def _indices(removed: Any) -> tuple[Int[Tensor, " removed"], Int[Tensor, " removed"]]:
    """Return indices of channels in ascending order, and the permutation that sorts them."""
    indices = torch.as_tensor(removed).detach().cpu()
    indices = indices.long() if indices.numel() == 0 else indices
    integers = not (indices.is_floating_point() or indices.is_complex() or indices.dtype == torch.bool)
    require(
        integers and indices.ndim == 1 and len(indices.unique()) == len(indices),
        "`removed` of `FocusedTeacher` must be distinct indices of channels, as from `select`. "
        f"Got {indices.tolist()}.",
    )
    ascending = indices.long().sort()
    require(
        bool((indices >= 0).all()),
        f"`removed` of `FocusedTeacher` must be 0 or more. Got {indices.tolist()}.",
    )
    return ascending.values, ascending.indices


def _check_range(largest: int, num_channels: int) -> None:
    require(
        largest < num_channels,
        f"`removed` of `FocusedTeacher` must be below the layer's number of channels, {num_channels}. "
        f"Got {largest}.",
    )


def _fill_values(fill: Any, num_removed: int) -> Float[Tensor, "channel *position"]:
    if isinstance(fill, str):
        choice("fill", fill, ("zero",))
        fill = 0.0
    values = torch.as_tensor(fill).detach()
    values = values.clone() if values.is_floating_point() else values.to(torch.get_default_dtype())
    require(
        bool(values.isfinite().all()),
        "`fill` of `FocusedTeacher` must be finite. Got NaN or infinity: check the training "
        "split for such values.",
    )
    return values.repeat(num_removed) if values.ndim == 0 else values


def _check_shapes(saved: dict[str, tuple[int, ...]], wanted: dict[str, tuple[int, ...]], of: str) -> None:
    """Raise if names or shapes of weights differ."""
    for names, verb in ((wanted.keys() - saved.keys(), "lacks"), (saved.keys() - wanted.keys(), "also has")):
        require(not names, f"`{WEIGHTS}` {verb} {listing(sorted(names))}, compared with {of}.")
    for name, shape in wanted.items():
        require(saved[name] == shape, f"`{name}` has shape {saved[name]} in `{WEIGHTS}` and {shape} in {of}.")
