"""Exact saliency of features that do not fit into memory: one pass over files, in parts that are merged."""

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
from mfh._system.progress import Bar
from mfh._system.signals import raise_if_stopped, shield_workers
from mfh.results import read_arrays

PART = 65_536  # samples that are merged at once: what a stop can cost, and what processes share out
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
    progress: bool = False,
    warn: bool = True,
) -> SaliencyResult:
    """Exact saliency of a linear head (see `saliency`) from features in files, in one pass over them.

    Memory holds some thousand samples a process and a few numbers a channel, whatever the number of samples;
    the work is proportional to samples x channels x outputs. Samples are taken in parts whose moments are
    merged in their order, so the result depends neither on `jobs` nor on being stopped.

    Args:
        features: npy file of floats, (sample, channel), or several that follow each other.
        student_logits: npy file of floats, (sample, output), or several; they hold the same samples in the
            same order, and need not be cut in the same places.
        weight: the head's weight. Products are taken on its device.
        bias: the head's bias.
        score: `increase` or `followed`.
        dtype: in which products are taken; see `SaliencyAccumulator`.
        jobs: processes, 1 or more.
        state: file (npz) that keeps what is done, so that the same call goes on after a stop; it is gone
            once the call has come to its end. None keeps nothing.
        progress: whether to show progress on stderr.
        warn: whether to warn when increases are negative and the score is `increase`.

    Raises:
        InputError: a file is absent, damaged, not in C order or of a shape that does not fit; a value is not
            finite (file and rows are named); `state` is of other files or another head.

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
        "saliency", count, unit="samples", done=min(done * PART, count), show=progress, scaled=True
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
    """A head's weight, its bias if there is one, and the type called `dtype`, from safetensors or an npz.

    Raises:
        InputError: the file cannot be read or holds no `weight`; there is no such type or device.
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
        f"`head` must hold `weight` (output, channel), and `bias` if there is one. `{path}` holds "
        f"{listing(found) or 'nothing'}.",
    )
    try:
        weight = found["weight"].to(device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"`device` must be one of this machine. Got {device!r}: {error}.") from error
    bias = found.get("bias")
    return weight, None if bias is None else bias.to(device), getattr(torch, dtype)


def _run(tasks: Iterable[object], jobs: int) -> Iterator[SaliencyAccumulator]:
    """Results in the order of the tasks, computed side by side by `jobs` processes."""
    parallel = joblib.Parallel(n_jobs=jobs, return_as="generator", pre_dispatch="2*n_jobs")
    with shield_workers():
        return parallel(tasks)


def _spans(count: int, size: int) -> Iterator[tuple[int, int]]:
    return ((start, min(start + size, count)) for start in range(0, count, size))


@dataclass(frozen=True)
class _Rows:
    """Files that follow each other, as one table."""

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
                f"`{name}` must have as many columns in every file. Got {before.shape[1]} in `{before.path}` "
                f"and {after.shape[1]} in `{after.path}`.",
            )
        return cls(name, files)

    @property
    def count(self) -> int:
        return self.ends[-1]

    @property
    def width(self) -> int:
        return self.files[0].shape[1]

    def read(self, start: int, stop: int) -> Tensor:
        """Some rows, from as many files as hold them."""
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
            "`features` and `student_logits` must hold the same samples in the same order. Got "
            f"{features.count} and {logits.count} samples.",
        )
        require(
            features.width == channels and logits.width == outputs,
            f"`weight` must be (output, channel), {(logits.width, features.width)} for these files. Got "
            f"{(outputs, channels)}.",
        )

    def fingerprint(self, weight: Tensor, bias: Tensor | None, score: str, dtype: torch.dtype) -> str:
        """What tells one computation from another: head, options, and names, sizes and times of the files."""
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
    """What a part of the samples leaves behind."""
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
    """The merged moments of the parts that are done, in a file."""

    path: Path
    mark: str

    def load(self, total: SaliencyAccumulator) -> int:
        """Take over what is there; returns the number of parts that are done."""
        if not self.path.exists():
            return 0
        try:
            arrays = read_arrays(self.path, sealed=True)
        except InputError as error:
            logger.warning("All samples are read again. %s", error)
            return 0
        require(
            str(arrays.pop("mark", "")) == self.mark,
            f"`state` must be of the same files, head and options. `{self.path}` is of others: remove it, or "
            "name another file.",
        )
        done = int(arrays.pop("parts"))
        total.restore(arrays)
        logger.info("Going on after %d samples", total.num_samples)
        return done

    def save(self, total: SaliencyAccumulator, parts: int) -> None:
        write_npz(self.path, {**total.arrays(), "mark": np.asarray(self.mark), "parts": np.asarray(parts)})
