"""Exact saliency of features that do not fit into memory, in one pass over files."""

import hashlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path

import joblib
import numpy as np
import torch
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor

from mfh._checks import InputError, choice, listing, require
from mfh._saliency.linear import SaliencyAccumulator
from mfh._saliency.result import SaliencyResult
from mfh._saliency.rows import RowFile
from mfh._system.files import write_npz
from mfh._system.progress import Bar, Progress, is_shown
from mfh._system.signals import raise_if_stopped, shield_workers
from mfh.results import read_arrays

PART = 65_536  # samples of a part: the unit of work of a process, and the most that a stop can lose
CHUNK = 4_096  # samples in memory at once
logger = logging.getLogger(__name__)
Files = Path | str | Sequence[Path | str]


def streaming_saliency(
    features: Files,
    student_logits: Files,
    weight: Float[Tensor, "output channel"],
    bias: Float[Tensor, " output"] | None = None,
    *,
    score: str = "increase",
    dtype: torch.dtype = torch.float32,
    jobs: int = 1,
    state: Path | str | None = None,
    progress: Progress = "auto",
    warn: bool = True,
) -> SaliencyResult:
    """Compute the exact saliency of a linear head (see `saliency`) from features in files, in one pass.

    Each process has a few thousand samples and a few numbers per channel in memory, for any number of
    samples. The work is proportional to samples x channels x outputs. The moments of parts are merged in
    order, so the result depends neither on `jobs` nor on interruptions.

    Args:
        features: npy file of floats, (sample, channel), or several that follow each other.
        student_logits: npy file of floats, (sample, output), or several. They contain the same samples in the
            same order; the files may be divided at other places.
        weight: the head's weight. Products are computed on its device.
        bias: the head's bias.
        score: `increase` or `followed`.
        dtype: type of products; see `SaliencyAccumulator`.
        jobs: number of processes, 1 or more.
        state: npz file that stores finished parts, so that the same call continues after a stop; it is
            deleted at the end. None stores nothing.
        progress: whether to show progress on stderr; auto shows it in a terminal and in a notebook.
        warn: whether to warn when increases are negative and the score is `increase`.

    Raises:
        InputError: a file is missing, damaged, not in C order or has a shape that does not fit; a value is
            not finite (file and rows are named); `state` belongs to other files or another head.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> rows = torch.randn(1000, 3, generator=torch.Generator().manual_seed(0))
        >>> np.save(folder / "features.npy", rows.numpy())
        >>> np.save(folder / "student.npy", rows[:, :2].numpy())  # it does not see the third channel
        >>> head = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
        >>> result = streaming_saliency(
        ...     folder / "features.npy", folder / "student.npy", head, score="followed"
        ... )
        >>> result.num_samples, sorted(result.ranking[:2].tolist())
        (1000, [0, 1])
    """
    require(jobs >= 1, f"`jobs` must be 1 or more. Got {jobs} instead.")
    source = _Source(_Rows.open("features", features), _Rows.open("student_logits", student_logits))
    empty = partial(SaliencyAccumulator, weight, bias, score=score, dtype=dtype)
    total = empty()
    source.require_fits(weight)
    parts = list(_spans(source.features.count, PART))
    kept = None if state is None else _Kept(Path(state), source.fingerprint(weight, bias, score, dtype))
    done = 0 if kept is None else kept.load(total)
    tasks = (joblib.delayed(_absorb)(source, empty, *span) for span in parts[done:])
    count = source.features.count
    with Bar(
        "saliency", count, unit="samples", done=min(done * PART, count), show=is_shown(progress), scaled=True
    ) as bar:
        for number, found in enumerate(_run(tasks, jobs), start=done + 1):
            raise_if_stopped()
            bar.advance(found.num_samples)
            total.merge(found)
            if kept is not None and number < len(parts):
                kept.save(total, number)
    result = total.compute(warn=warn)
    if kept is not None:
        kept.path.unlink(missing_ok=True)
    return result


def read_head(path: Path | str, *, dtype: str, device: str) -> tuple[Tensor, Tensor | None, torch.dtype]:
    """Read a head's weight and bias (None if absent) from safetensors or an npz; return them with the type.

    Raises:
        InputError: the file cannot be read or has no `weight`; there is no such type or device.
    """
    path = Path(path)
    choice("dtype", dtype, ("float32", "float64"))
    if path.suffix == ".npz":
        found = {name: torch.from_numpy(value) for name, value in read_arrays(path).items()}
    else:
        try:
            found = load_file(path)
        except Exception as error:
            raise InputError(f"`head` must be safetensors or an npz. `{path}`: {error}.") from error
    require(
        "weight" in found,
        f"`head` must contain `weight` (output, channel), and `bias` if there is one. `{path}` contains "
        f"{listing(found)}.",
    )
    try:
        weight = found["weight"].to(device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"`device` must be one of this machine. Got {device!r}: {error}.") from error
    bias = found.get("bias")
    return weight, None if bias is None else bias.to(device), getattr(torch, dtype)


def _run(tasks: Iterable[object], jobs: int) -> Iterator[SaliencyAccumulator]:
    """Yield the results of the tasks in order, computed by `jobs` processes at the same time."""
    parallel = joblib.Parallel(n_jobs=jobs, return_as="generator", pre_dispatch="2*n_jobs")
    with shield_workers():
        return parallel(tasks)


def _spans(count: int, size: int) -> Iterator[tuple[int, int]]:
    return ((start, min(start + size, count)) for start in range(0, count, size))


@dataclass(frozen=True)
class _Rows:
    """Several files as one table."""

    name: str
    files: tuple[RowFile, ...]
    ends: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        ends = np.cumsum([file.shape[0] for file in self.files])
        object.__setattr__(self, "ends", tuple(int(end) for end in ends))

    @classmethod
    def open(cls, name: str, paths: Files) -> "_Rows":
        listed = [paths] if isinstance(paths, (str, Path)) else list(paths)
        require(len(listed) > 0, f"`{name}` must name one file or more. Got none.")
        files = tuple(RowFile.open(path) for path in listed)
        for before, after in pairwise(files):
            require(
                before.shape[1] == after.shape[1],
                f"`{name}` must have the same number of columns in every file. Got {before.shape[1]} in "
                f"`{before.path}` and {after.shape[1]} in `{after.path}`.",
            )
        return cls(name, files)

    @property
    def count(self) -> int:
        return self.ends[-1]

    @property
    def width(self) -> int:
        return self.files[0].shape[1]

    def read(self, start: int, stop: int) -> Tensor:
        """Return rows from `start` up to `stop`, which may be in several files."""
        pieces = []
        for file, end in zip(self.files, self.ends, strict=True):
            begin = end - file.shape[0]
            low, high = max(start, begin), min(stop, end)
            if low < high:
                pieces.append(file.read(low - begin, high - begin))
        return torch.from_numpy(pieces[0] if len(pieces) == 1 else np.concatenate(pieces))


@dataclass(frozen=True)
class _Source:
    """Features and the student's logits of the same samples."""

    features: _Rows
    logits: _Rows

    def require_fits(self, weight: Tensor) -> None:
        outputs, channels = weight.shape
        features, logits = self.features, self.logits
        require(
            features.count == logits.count,
            "`features` and `student_logits` must contain the same samples in the same order. Got "
            f"{features.count} and {logits.count} samples.",
        )
        require(
            features.width == channels and logits.width == outputs,
            f"`weight` must be (output, channel), {(logits.width, features.width)} for these files. Got "
            f"{(outputs, channels)}.",
        )

    def fingerprint(self, weight: Tensor, bias: Tensor | None, score: str, dtype: torch.dtype) -> str:
        """Return a digest of head, options, and names, sizes and times of the files."""
        digest = hashlib.sha256()
        for tensor in (weight, weight.new_zeros(len(weight)) if bias is None else bias):
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        for file in (*self.features.files, *self.logits.files):
            known = file.path.stat()
            digest.update(repr((file.path.name, file.shape, str(file.dtype), known.st_mtime_ns)).encode())
        digest.update(repr((score, str(dtype), PART)).encode())
        return digest.hexdigest()


def _absorb(
    source: _Source, empty: "partial[SaliencyAccumulator]", start: int, stop: int
) -> SaliencyAccumulator:
    """Accumulate one part of the samples."""
    found = empty()
    for low, high in _spans(stop - start, CHUNK):
        rows = slice(start + low, start + high)
        try:
            found.update(
                source.features.read(rows.start, rows.stop), source.logits.read(rows.start, rows.stop)
            )
        except InputError as error:
            raise InputError(f"Samples {rows.start} to {rows.stop - 1} of the files: {error}") from None
    return found


@dataclass(frozen=True)
class _Kept:
    """A file with the merged moments of finished parts."""

    path: Path
    mark: str

    def load(self, total: SaliencyAccumulator) -> int:
        """Restore the state from the file if there is one; return the number of finished parts."""
        if not self.path.exists():
            return 0
        try:
            arrays = read_arrays(self.path, sealed=True)
        except InputError as error:
            logger.warning("All samples are read again. %s", error)
            return 0
        require(
            str(arrays.pop("mark", "")) == self.mark,
            f"`state` must belong to the same files, head and options. `{self.path}` belongs to others: "
            "remove it, or name another file.",
        )
        done = int(arrays.pop("parts"))
        total.restore(arrays)
        logger.info("Continuing after %d samples", total.num_samples)
        return done

    def save(self, total: SaliencyAccumulator, parts: int) -> None:
        write_npz(self.path, {**total.arrays(), "mark": np.asarray(self.mark), "parts": np.asarray(parts)})
