"""Device, precision and processes of a training."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers
from accelerate.utils import ProjectConfiguration
from torch import Tensor, nn
from torch import distributed as dist

from mfh._checks import InputError, listing, require
from mfh.config import TrainConfig

T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """The processes that train one network together: one, unless a launcher started several.

    Attributes:
        rank: number of this process, from 0; process 0 is the main one.
        count: number of processes.
        device: what this process computes on, and exchanges values through.
    """

    rank: int
    count: int
    device: torch.device

    @classmethod
    def on(cls, device: torch.device) -> "Processes":
        """Return the processes of the current process group; one process if there is none."""
        if dist.is_available() and dist.is_initialized():
            return cls(dist.get_rank(), dist.get_world_size(), device)
        return cls(0, 1, device)

    @property
    def main(self) -> bool:
        """Whether this process is the main one, which writes the files."""
        return self.rank == 0

    def total(self, values: Sequence[float]) -> list[float]:
        """Return the sum over processes of each value."""
        table = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(table)
        return table.tolist()

    def from_main(self, value: float) -> float:
        """Return the main process's value."""
        if self.count == 1:
            return value
        table = torch.tensor([value], dtype=torch.float64, device=self.device)
        dist.broadcast(table, 0)
        return float(table)

    def copy_from_main(self, values: Sequence[Tensor]) -> None:
        """Overwrite tensors with those of the main process."""
        if self.count > 1:
            for value in values:
                dist.broadcast(value, 0)

    def wait(self) -> None:
        """Wait until every process has made this call."""
        if self.count > 1:
            dist.barrier()

    def gather(self, value: T) -> list[T]:
        """Return the value of every process, in the order of ranks; values are pickled on their way."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        dist.all_gather_object(values, value)
        return values

    def collect(self, values: Tensor) -> Tensor:
        """Return the rows of all processes in order.

        Process i has rows i, i + count, i + 2 count and so on; every process has the same number of rows.
        """
        if self.count == 1:
            return values
        parts = [torch.empty_like(values) for _ in range(self.count)]
        dist.all_gather(parts, values.contiguous())
        return torch.stack(parts, dim=1).flatten(0, 1)


def make_accelerator(config: TrainConfig, *, folder: Path | None = None) -> Accelerator:
    """Return the accelerator for the device, the precision and the trackers of a configuration.

    Accelerators of one process may differ in device and precision. Under `torchrun` or `accelerate launch`
    each process uses the device of its local rank.

    Args:
        config: names the device, the precision and the trackers.
        folder: trackers write into its folder `logs`; it must be given if there are any.

    Raises:
        InputError: there is no such device, the device does not support the precision, or a tracker, or what
            the environment demands of Accelerate, is not installed.
    """
    require(
        not config.tracker or folder is not None,
        f"`tracker` {listing(config.tracker)} needs a folder to write to: give a `checkpoint` folder.",
    )
    _require_trackers(config.tracker)
    launched = int(os.environ.get("LOCAL_RANK", -1)) != -1
    named = config.device not in ("auto", "cpu")
    if named:
        _require_device(config.device, launched)
    # Without an accelerator only `cpu=True` makes Accelerate join the processes of a launcher.
    cpu = config.device == "cpu" or (config.device == "auto" and launched and not _has_accelerator())
    _forget_settings(cpu)
    before = os.environ.get("ACCELERATE_TORCH_DEVICE")
    try:
        if named and not launched:
            os.environ["ACCELERATE_TORCH_DEVICE"] = config.device
        project = None if folder is None else ProjectConfiguration(str(folder), str(folder / "logs"))
        accelerator = Accelerator(
            cpu=cpu,
            mixed_precision=config.precision,
            log_with=list(config.tracker) or None,
            project_config=project,
        )
    except ValueError as error:
        raise InputError(f"`precision` {config.precision!r} cannot be used here: {error}") from error
    except ImportError as error:
        wanted = sorted(name for name in os.environ if name.startswith("ACCELERATE_USE_"))
        raise InputError(
            f"Hugging Face Accelerate cannot start with {listing(wanted)} set in the environment: "
            f"{str(error).splitlines()[0]} Unset it, or install what it needs."
        ) from error
    finally:
        if named and not launched:
            os.environ.pop("ACCELERATE_TORCH_DEVICE")
            os.environ.update({} if before is None else {"ACCELERATE_TORCH_DEVICE": before})
    require(
        config.precision != "fp16" or accelerator.device.type != "cpu",
        "`precision` fp16 needs an accelerator, here is only the CPU: use `bf16` or `no`.",
    )
    return accelerator


@contextmanager
def synchronised(model: nn.Module, processes: Processes) -> Iterator[None]:
    """Let batch normalisation use the batches of all processes; the layers are restored afterwards.

    PyTorch supports this on CUDA only. On the CPU each process normalises by its own share of the batch.
    """
    plain = {}
    if processes.count > 1 and processes.device.type == "cuda":
        kind = nn.modules.batchnorm._BatchNorm
        plain = {name: layer for name, layer in model.named_modules() if name and isinstance(layer, kind)}
        nn.SyncBatchNorm.convert_sync_batchnorm(model)
    try:
        yield
    finally:
        for name, layer in plain.items():
            parent, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(parent), leaf, layer)


def reseed(device: torch.device, seed: int) -> None:
    """Seed the generators that dropout and other layers draw from, on the CPU and on the device."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        torch.cuda.default_generators[index].manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)


def _forget_settings(cpu: bool) -> None:
    """Let the next Accelerator have its own settings.

    All Accelerators of a process share dictionaries with device and precision, and refuse other values later.
    With new dictionaries the next one starts afresh, and earlier ones keep theirs.
    """
    AcceleratorState._shared_state = {}
    state = PartialState._shared_state
    joined = state.get("num_processes", 1) > 1
    require(
        not joined or cpu == (state["device"].type == "cpu"),
        "`device` must stay the same for all networks of a distributed run: an accelerator, or the CPU.",
    )
    if not joined:
        PartialState._shared_state = {}


def _has_accelerator() -> bool:
    newer = getattr(torch, "accelerator", None)  # torch 2.6 and later
    return newer.is_available() if newer is not None else torch.cuda.is_available()


def _require_device(name: str, launched: bool) -> None:
    require(
        not (launched and ":" in name),
        f"`device` {name!r} must not have a number in a distributed run: each process takes its rank's.",
    )
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"`device` {name!r} cannot be used here: {reason}") from error


def _require_trackers(names: Sequence[str]) -> None:
    known = sorted(str(name) for name in LOGGER_TYPE_TO_CLASS)
    installed = {str(name.value) for name in get_available_trackers()} if names else set()
    for name in names:
        require(name in known, f"`tracker` must hold names of {listing(known)}. Got {name!r} instead.")
        require(
            name in installed,
            f"`tracker` {name!r} is not installed: `pip install {name.replace('_', '-')}`, or leave it out.",
        )
