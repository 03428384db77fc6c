"""The result of a saliency computation."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Float, Int

from mfh._checks import InputError, require
from mfh._system.files import write_npz
from mfh.results import read_arrays

if TYPE_CHECKING:
    import pandas as pd

Distance = Literal["mse", "l1"]
Score = Literal["increase", "followed"]
PerChannel = Float[np.ndarray, " channel"]

_FORMAT = 1
_ARRAYS = ("mean", "increase", "followed", "importance", "stderr_data", "stderr_permutation")


@dataclass(frozen=True, eq=False)
class SaliencyResult:
    """Saliency of every channel of a teacher's layer, by Algorithm 1 of the MFH paper (arXiv 2206.06487).

    All arrays are float64 of shape (channel,), in units of the distance.

    Attributes:
        mean: D_c, the expected distance to the student's logits when channel c is permuted; at least 0.
        increase: `mean` - `baseline`; negative where permuting the channel brings the teacher closer to the
            student.
        followed: the part of `increase` that depends on how the student's logits vary over samples,
            increase(s) - increase(mean of s); 2 W_c . Cov(s, h_c) / K for a linear head. None under L1.
        importance: 2 ||W_c||^2 Var(h_c) / K, the `increase` for a student that copies the teacher. It does
            not use the student. None unless the head is linear and the distance is MSE.
        stderr_data: standard error of `values` from the finite number of samples.
        stderr_permutation: standard error of `values` from the finite number of permutations; 0 when exact,
            nan for a single permutation.
        baseline: D, the distance without permutation.
        score: what ranks the channels, `increase` or `followed`.
        distance: `mse` or `l1`.
        num_samples: number of samples.
        num_permutations: permutations drawn per channel, or `exact`.
    """

    mean: PerChannel = field(repr=False)
    increase: PerChannel = field(repr=False)
    followed: PerChannel | None = field(repr=False)
    importance: PerChannel | None = field(repr=False)
    stderr_data: PerChannel = field(repr=False)
    stderr_permutation: PerChannel = field(repr=False)
    baseline: float
    score: Score
    distance: Distance
    num_samples: int
    num_permutations: int | Literal["exact"]

    def __post_init__(self) -> None:
        """Check that all numbers are finite."""
        finite = bool(np.isfinite(self.baseline)) and bool(np.isfinite(self.increase).all())
        require(
            finite,
            "Saliency must be finite. Got NaN or infinity: `features` or `student_logits` are so large that "
            "their squares overflow, or the file is damaged. Rescale them.",
        )

    @property
    def num_channels(self) -> int:
        """Number of channels."""
        return len(self.increase)

    @property
    def values(self) -> PerChannel:
        """The chosen score: `increase` or `followed`."""
        values = self.followed if self.score == "followed" else self.increase
        assert values is not None  # noqa: S101 - `followed` is refused where it does not exist
        return values

    @property
    def scaled(self) -> PerChannel:
        """`values` scaled to [0, 1] by minimum and maximum over channels; zeros if all are equal."""
        values = self.values
        span = values.max() - values.min()
        return (values - values.min()) / span if span > 0 else np.zeros_like(values)

    @property
    def ranking(self) -> Int[np.ndarray, " channel"]:
        """Channels from the most to the least salient; equal ones in order of index."""
        return np.argsort(-self.values, kind="stable")

    @property
    def stderr(self) -> PerChannel:
        """Standard error of `values` from samples and permutations combined."""
        return np.hypot(self.stderr_data, self.stderr_permutation)

    def frame(self) -> "pd.DataFrame":
        """Return a pandas data frame with one row per channel; `rank` 0 is the most salient.

        Example:
            >>> import torch
            >>> from mfh._saliency import SaliencyAccumulator
            >>> accumulator = SaliencyAccumulator(torch.tensor([[1.0, 2.0]]))
            >>> features = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
            >>> result = accumulator.update(features, features[:, :1]).compute()
            >>> result.frame()[["channel", "values", "rank", "importance"]]
               channel  values  rank  importance
            0        0     0.5     0         0.5
            1        1     0.0     1         2.0
        """
        import pandas as pd  # slow to import, and only needed here

        rank = np.empty(self.num_channels, dtype=np.int64)
        rank[self.ranking] = np.arange(self.num_channels)
        columns = {
            "channel": np.arange(self.num_channels),
            "values": self.values,
            "scaled": self.scaled,
            "rank": rank,
        } | {name: values for name, values in self._arrays().items() if values is not None}
        return pd.DataFrame(columns)

    def save(self, path: Path | str, *, mark: str = "") -> Path:
        """Write everything to an npz file, atomically and without pickle; return its path.

        Args:
            path: the file.
            mark: name of what it belongs to; `load` with another mark refuses the file.

        Raises:
            InputError: the name does not end in `.npz`, or the file cannot be written.
        """
        path = Path(path)
        require(
            path.suffix == ".npz",
            f"`path` of `save` must end in .npz. Got `{path}`: name it `{path.with_suffix('.npz')}`.",
        )
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        arrays = {name: np.asarray(value) for name, value in values.items() if value is not None}
        return write_npz(path, arrays | {"saliency_format": np.asarray(_FORMAT)}, mark=mark)

    @classmethod
    def load(cls, path: Path | str, *, mark: str = "") -> "SaliencyResult":
        """Read what `save` wrote.

        Args:
            path: the file.
            mark: the mark that the file must have; any if empty.

        Raises:
            InputError: the file is missing or damaged, is no saliency that this version can read, or has
                another mark.
        """
        arrays = read_arrays(path, mark=mark)
        optional = {"followed", "importance"}
        given = {
            name: array if array.ndim else array.item()
            for name, array in arrays.items()
            if name in {f.name for f in fields(cls)}
        }
        missing = {f.name for f in fields(cls)} - optional - set(given)
        if missing or arrays.get("saliency_format", np.zeros(())).tolist() != _FORMAT or _problems(given):
            raise InputError(f"`{path}` is not a saliency that this version of mfh wrote. Compute it again.")
        return cls(**(dict.fromkeys(optional) | given))

    def _arrays(self) -> dict[str, np.ndarray | None]:
        return {name: getattr(self, name) for name in _ARRAYS}

    def _repr_html_(self) -> str:
        """Return the ten most salient channels and facts about the ranking, for notebooks."""
        facts = [
            f"{self.num_channels} channels, {self.num_samples} samples, distance {self.distance}, "
            f"score {self.score}, permutations: {self.num_permutations}",
            f"distance without permutation: {self.baseline:.6g}",
            f"channels with a negative increase: {int((self.increase < 0).sum())}",
        ]
        if self.importance is not None and self.num_channels > 1:
            facts.append(
                "rank correlation with importance, which does not use the student: "
                f"{_rank_correlation(self.values, self.importance):.2f}"
            )
        head = "".join(f"<th>{name}</th>" for name in ("channel", "value", "scaled", "standard error"))
        columns = (self.values, self.scaled, self.stderr)
        rows = "".join(
            f"<tr><td>{c}</td>" + "".join(f"<td>{column[c]:.4g}</td>" for column in columns) + "</tr>"
            for c in self.ranking[:10]
        )
        items = "".join(f"<li>{fact}</li>" for fact in facts)
        return f"<div><b>Saliency</b><ul>{items}</ul><table><tr>{head}</tr>{rows}</table></div>"


def _problems(given: Mapping[str, Any]) -> list[str]:
    """Return the names of fields whose value has another type than `save` writes."""
    size: tuple[int, ...] = getattr(given["mean"], "shape", ())
    score, distance, drawn = (
        value if isinstance(value := given[name], (str, int)) else ""
        for name in ("score", "distance", "num_permutations")
    )
    right = {
        name: isinstance(given[name], np.ndarray) and given[name].dtype == float and given[name].shape == size
        for name in _ARRAYS
        if name in given
    }
    right |= {
        "mean": len(size) == 1 and size[0] > 0 and right["mean"],
        "baseline": isinstance(given["baseline"], float),
        "score": score == "increase" or (score == "followed" and "followed" in given),
        "distance": distance in ("mse", "l1"),
        "num_samples": isinstance(given["num_samples"], int),
        "num_permutations": drawn == "exact" or isinstance(drawn, int),
    }
    return [name for name, fits in right.items() if not fits]


def _rank_correlation(a: PerChannel, b: PerChannel) -> float:
    """Return Spearman's rank correlation; NaN if one is constant."""
    from scipy.stats import rankdata  # slow to import, and only needed here

    ranks = np.stack([rankdata(a), rankdata(b)])
    ranks -= ranks.mean(axis=1, keepdims=True)
    norm = np.sqrt((ranks**2).sum(axis=1).prod())
    return float((ranks[0] * ranks[1]).sum() / norm) if norm > 0 else float("nan")
