"""The description of a Gaussian experiment."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mfh.experiments.gaussian.runs import Runs
from mfh.results import GaussianRecord, GaussianResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, kw_only=True)
class GaussianRecipe:
    """One figure or table: the models of one run, and the numbers computed from all runs.

    Attributes:
        name: the word after `mfh gaussian`, and the name of the picture's files.
        first_seed: seed of the first run; the released code's.
        columns: columns of `rows` that the command prints.
        run_seed: trains all models of the run with this seed.
        rows: one mapping for each point of the figure or line of the table.
        differences: paired differences with their intervals; see `GaussianResult.differences`.
        notes: sentences on the results; the first one is the headline.
        draw: draws the picture. It imports matplotlib only then, since that takes long.
    """

    name: str
    first_seed: int
    columns: Sequence[str]
    run_seed: Callable[[int], list[GaussianRecord]]
    rows: Callable[[Runs], list[dict[str, Any]]]
    differences: Callable[[Runs], list[dict[str, Any]]]
    notes: Callable[[Runs], list[str]]
    draw: Callable[[GaussianResult], "Figure"]
