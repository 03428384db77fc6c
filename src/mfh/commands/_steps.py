"""Shared parts of commands with several steps: parsers, options, what they print and write."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser, Namespace

from mfh._checks import InputError
from mfh._system.import_paths import ClassSpec
from mfh._system.lock import holds_out, is_main
from mfh.commands._options import add_common, summary_table, table
from mfh.commands._output import announce
from mfh.config import DistillConfig, TrainConfig

if TYPE_CHECKING:
    from mfh._saliency import SaliencyResult
    from mfh.experiments._steps import Recipe
    from mfh.results import StudyResult


@dataclass(frozen=True)
class Step:
    """One step of a command.

    Attributes:
        help: what it does, in one line.
        example: options as they are typed.
        add: adds its options to a parser.
        run: runs it.
        aliases: its other names.
    """

    help: str
    example: str
    add: Callable[[ArgumentParser], None]
    run: Callable[[Namespace], None]
    aliases: tuple[str, ...] = ()


def add_steps(parser: ArgumentParser, command: str, steps: Mapping[str, Step]) -> None:
    """Add the steps of a command, each with its options."""
    commands = parser.add_subcommands(required=True, dest="step", metavar="STEP")
    for name, step in steps.items():
        sub = type(parser)(
            description=f"{step.help[0].upper()}{step.help[1:]}.\n\nexample:\n"
            f"  mfh {command} {name} {step.example}\n",
        )
        step.add(sub)
        add_common(sub)
        commands.add_subcommand(name, sub, help=step.help, aliases=step.aliases)


def run_step(options: Namespace, steps: Mapping[str, Step]) -> None:
    """Run the step that was chosen, by its name or an alias."""
    step = next(step for name, step in steps.items() if options.step in (name, *step.aliases))
    chosen = options[options.step]
    holds_out(step.run)(chosen)


def distilling() -> tuple[str, ...]:
    """Return the fields of a config that only students with a teacher need, or that say what they learn."""
    general = {"metric", *(field.name for field in fields(TrainConfig))}
    return tuple(field.name for field in fields(DistillConfig) if field.name not in general)


def add_mode(parser: ArgumentParser, ratio: float) -> None:
    """Add the options for what a student learns from and how many students there are."""
    parser.add_argument(
        "--mode", type=str, required=True, metavar="NAME",
        help="general, specific, random, joint, regular or no-kd; 1, 2, 0 and -1 are the first four in the "
        "released code",
    )  # fmt: skip
    parser.add_argument(
        "--ratio", type=float, default=ratio, metavar="FLOAT", help="share of channels to remove, in [0, 1)"
    )
    parser.add_argument("--seeds", type=int, default=1, metavar="INT", help="number of students")


def add_ranking(parser: ArgumentParser, default: str) -> None:
    """Add the options for ranking channels; `default` describes the permutations without the option."""
    parser.add_argument(
        "--num-permutations", type=str, default=None, metavar="exact|INT",
        help=f"permutations per channel (default: {default})",
    )  # fmt: skip
    parser.add_argument(
        "--samples", type=int, default=None, metavar="INT", help="training samples to use (default: all)"
    )


def num_permutations(options: Namespace) -> int | str | None:
    """Return the value of --num-permutations; see `add_ranking`.

    Raises:
        InputError: it is neither `exact` nor a whole number above 0.
    """
    count = options.num_permutations
    if count is None or count == "exact":
        return count
    if not count.isdecimal() or int(count) == 0:
        raise InputError(f"`num_permutations` must be `exact` or a whole number above 0. Got {count!r}.")
    return int(count)


def with_sources(
    result: "StudyResult", recipe: "Recipe", config: DistillConfig, load: str, arguments: Mapping[str, Any]
) -> "StudyResult":
    """Add to a result what made its data and networks, which `mfh export` makes again.

    Args:
        result: the result.
        recipe: the experiment.
        config: its config.
        load: the import path of the function that loaded the data.
        arguments: the arguments of that function.
    """
    made = recipe.networks(config, len(result.data["classes"]))
    networks = {f"{side}_network": spec.to_dict() for side, spec in made.items()}
    made_of = {"data": ClassSpec(load, arguments).to_dict(), "folder": str(Path.cwd())}
    return result.with_sources({**made_of, **networks})


def keep(result: "StudyResult", out: str) -> None:
    """Write the results so far and their report into the folder."""
    from mfh._report import report

    if is_main():
        result.save(out)
        announce("The report:", report(result, Path(out) / "report.html"))


def show(text: str) -> None:
    """Print, from one of several processes only."""
    if is_main():
        print(text)  # noqa: T201


def print_channels(result: "SaliencyResult") -> None:
    """Print the ten most salient channels, and how many have a high or low saliency."""
    rows = result.frame().sort_values("rank").head(10)
    columns = [
        c for c in ("channel", "scaled", "increase", "followed", "importance", "stderr_data") if c in rows
    ]
    shown = [{c: f"{row[c]:.4g}" for c in columns} for row in rows[columns].to_dict("records")]
    show(table(shown, columns))
    above = int((result.scaled > 0.4).sum()), int((result.scaled < 0.1).sum())
    show(f"\n{result.num_channels} channels: {above[0]} above 0.4, {above[1]} below 0.1")


def print_teachers(result: "StudyResult") -> None:
    """Print how accurate the teachers are, and how soft their outputs."""
    columns = ["teacher", "train", "validation", "test", "entropy", "saturated"]
    show(table([asdict(row) for row in result.teachers], columns))


def print_students(result: "StudyResult") -> None:
    """Print the metric of the students, and how they differ."""
    if not result.summary:
        return
    show(f"\n{summary_table(result)}")
    if result.comparisons:
        shown = ["a", "b", "ratio", "n", "difference", "low", "high"]
        show(f"\n{table([asdict(row) for row in result.comparisons], shown)}")


def print_verdict(result: "StudyResult") -> None:
    """Print the verdict, if there is one, and with several numbers of labels a line for each."""
    from mfh._study.few.words import describe_curve

    if result.verdict is not None:
        show(f"\n{result.verdict.verdict}: {result.verdict.sentence}")
    if lines := describe_curve(result.labels, result.metrics[0]):
        show("\n" + "\n".join(lines))


def add_files(parser: ArgumentParser, texts: Mapping[str, str], *flags: str) -> None:
    """Add flags for files that replace the output of a step; `texts` has the help of each."""
    for flag in flags:
        parser.add_argument(flag, type=str, default=None, metavar="FILE", help=texts[flag])
