"""The sentences of a search."""

from mfh.arms import BASELINE, SEARCHED
from mfh.recipe import Recipe
from mfh.results import Comparison, FitResult, MetricInfo


def describe_search(result: FitResult, *, untaught: bool, divided: int = 0) -> tuple[str, list[str]]:
    """Return the first sentences of a search: which student to ship, and how good it is; then the reasons.

    Args:
        result: the search, without its words.
        untaught: whether no fit took a teacher.
        divided: number of fits whose labelled samples have too few groups for folds of whole groups.
    """
    metric, search = result.metrics[0], result.search
    gain = _comparison(result, BASELINE)
    final, ships = search["final"], _ships(result)
    if result.verdict.one_class:
        first = result.verdict.sentence
    elif untaught:
        first = (
            f"No teacher was clearly better than the labels alone in any of the {len(_taken(result))} fits, "
            "so none was taken."
        )
    elif gain is None or gain.low is None or gain.high is None:
        first = result.verdict.sentence
    else:
        words = {
            "help": "Teachers help",
            "hurt": "Teachers do harm",
            "no-effect": "Teachers make no difference",
            "abstain": "It is open whether teachers help",
        }[result.verdict.verdict]
        first = (
            f"{words}: the searched recipe is {_span(gain, metric)} against the best recipe without a "
            "teacher, searched with the same budget."
        )
    first = " ".join(filter(None, (first, describe_limits(result))))
    reasons = []
    if final is None:
        reasons.append("The search on all samples failed, so no student is ready. Repeat the command.")
    if divided:
        reasons.append(
            f"In {divided} of {len(_taken(result))} fits the labelled samples have fewer than three groups, "
            "so recipes are judged on folds that divide groups. Test folds do not, so the gain is not "
            "affected; another recipe may be better for new groups."
        )
    return f"{first} {ships}", reasons


def describe_limits(result: FitResult) -> str:
    """Return in how many fits the limits allowed no search; empty if every search drew recipes."""
    found, search, config = result.search["fixed_alone"], result.search, result.config
    if not found:
        return ""
    fits = len({row["fit"] for row in search["winners"]}) + (search["final"] is not None)
    given = [f"`{name}` {config[name]:g}" for name in ("minutes", "budget") if config[name] is not None]
    limits = " and ".join(given) or f"the budget of {2 * search['budget']} students"
    where = "" if len(found) == fits else f" in {len(found)} of {fits} fits"
    return f"Nothing was searched{where}: {limits} allowed the fixed recipes alone."


def _ships(result: FitResult) -> str:
    """Return which student to ship, and what it reaches."""
    metric, search = result.metrics[0], result.search
    arm, final = search["shipped"], search["final"]
    row = next((r for r in result.summary if (r.arm, r.metric) == (arm, metric.name)), None)
    if final is None or row is None:
        return ""
    recipe = Recipe.from_dict(final["winners"][arm])
    digits = 1 if metric.margin >= 1 else 3
    span = ""
    if row.low is not None and row.high is not None:
        span = f" (95% {row.low:.{digits}f} to {row.high:.{digits}f})"
    value = f"{row.mean:.{digits}f}{metric.unit}{span}"
    return f"Ship the student of this recipe: {recipe}. Students like it reach {value} on test samples."


def _span(row: Comparison, metric: MetricInfo) -> str:
    digits = 2 if metric.margin >= 1 else 3
    return (
        f"{row.difference:+.{digits}f} points (95% {row.low:+.{digits}f} to {row.high:+.{digits}f}, "
        f"{row.n} fits)"
    )


def _comparison(result: FitResult, other: str) -> Comparison | None:
    return next((row for row in result.comparisons if (row.a, row.b) == (SEARCHED, other)), None)


def _taken(result: FitResult) -> list[str]:
    """Return the teacher that each fit took."""
    rows = [Recipe.from_dict(row) for row in result.search["winners"] if row["search"] == SEARCHED]
    return [recipe.source for recipe in rows]
