"""How far a command has come: bars on a terminal, plain lines elsewhere, and `progress.json` in its folder.

`progress.json` is written while a run goes on, and removed when the run has ended.
"""

import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TypeVar

from mfh._checks import InputError, typed
from mfh._system.files import read_json, write_json

FILE = "progress.json"
LINE_EVERY = 60.0
"""Seconds between two lines of one bar if stderr is no terminal."""
_FORMAT = "{desc:<9} {percentage:3.0f}%|{bar:24}| {n_fmt}/{total_fmt} {unit}{postfix}"
_TIMED_FORMAT = _FORMAT.replace("{postfix}", " [{elapsed}<{remaining}, {rate_fmt}{postfix}]")
T = TypeVar("T")
Progress = bool | Literal["auto"]
"""Whether to show progress on stderr; `auto` shows it in a terminal and in a notebook."""


class Bar:
    """Show on stderr how much of some work is done.

    A terminal gets a bar that is drawn again and again. Everything else (a file, a pipe, TERM=dumb) gets
    plain lines: one a minute, and one at the end of work that took longer than a minute. Lines contain no
    control characters, and nothing is coloured.

    Args:
        name: of the work.
        total: units of work; None if nobody knows.
        unit: what is counted, in the plural.
        done: units that were done before.
        show: whether to show anything.
        row: line of the terminal, counted from 0; by default the next one that is free.
        delay: seconds before the bar appears.
        keep: whether the bar stays on the terminal when the work is done.
        timed: whether the time left follows from the time since the start; otherwise `advance` gets it.
        scaled: whether large counts are written as 12.3k.

    Example:
        >>> with Bar("clips", 2, unit="clips", show=False) as bar:
        ...     for _ in range(2):
        ...         bar.advance()
        >>> bar.done
        2
    """

    def __init__(
        self,
        name: str,
        total: int | None,
        *,
        unit: str,
        done: int = 0,
        show: bool = True,
        row: int | None = None,
        delay: float = 0.0,
        keep: bool = True,
        timed: bool = True,
        scaled: bool = False,
    ) -> None:
        self.name, self.total, self.unit, self.done = name, total, unit, done
        self._first, self._note = done, ""
        self._start = self._line = time.monotonic()
        self._lines = show and not draws_bars()
        self._drawn: Any = None
        if show and not self._lines:
            from tqdm.auto import tqdm

            form = None if total is None else _TIMED_FORMAT if timed else _FORMAT
            self._drawn = tqdm(
                desc=name, total=total, initial=done, unit=unit, position=row, delay=delay, leave=keep,
                unit_scale=scaled, bar_format=form, dynamic_ncols=True,
            )  # fmt: skip

    def __enter__(self) -> "Bar":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def advance(self, count: int = 1, *, note: str | None = None, name: str | None = None) -> None:
        """Add units that are done; `note` is shown behind the count, `name` replaces the name."""
        self.done += count
        self._note = self._note if note is None else note
        self.name = name or self.name
        if self._drawn is not None:
            if note is not None:
                self._drawn.set_postfix_str(note, refresh=False)
            if name is not None:
                self._drawn.set_description_str(name, refresh=False)
            self._drawn.update(count)
        elif self._lines and time.monotonic() - self._line >= LINE_EVERY:
            self._write_line()

    def close(self) -> None:
        """End the bar."""
        if self._drawn is not None:
            self._drawn.close()
        elif self._lines and self._line > self._start:
            self._write_line()
        self._drawn, self._lines = None, False

    def _write_line(self) -> None:
        self._line = time.monotonic()
        share = "" if not self.total else f" of {self.total} {self.unit} ({100 * self.done // self.total}%)"
        parts = [f"{self.name}: {self.done}{share or ' ' + self.unit}"]
        parts += [self._note] if self._note else []
        fresh, seconds = self.done - self._first, self._line - self._start
        if self.total and fresh > 0 and self.done < self.total and "left" not in self._note:
            parts.append(f"{interval((self.total - self.done) * seconds / fresh)} left")
        write_line(", ".join(parts))


def counted(
    items: Iterable[T], name: str, total: int, *, unit: str, show: bool, delay: float = 0.0
) -> Iterator[T]:
    """Yield the items, and show in a `Bar` how many are done."""
    with Bar(name, total, unit=unit, show=show, delay=delay) as bar:
        for item in items:
            yield item
            bar.advance()


def write_line(text: str) -> None:
    """Write a line to stderr, if it can be written: a log file on a full disk must not end the work."""
    with suppress(OSError, AttributeError):
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


def is_shown(progress: Progress) -> bool:
    """Return whether progress is shown: as asked for, or `auto`, in a terminal and in a notebook."""
    return (_in_notebook() or _in_terminal()) if progress == "auto" else progress


def draws_bars() -> bool:
    """Return whether stderr is a terminal that can move its cursor, or a notebook that has widgets."""
    if _in_notebook():
        return find_spec("ipywidgets") is not None
    return _in_terminal() and os.environ.get("TERM") != "dumb"


def _in_notebook() -> bool:
    return type(sys.stderr).__module__.startswith("ipykernel")


def _in_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()


def about(seconds: float) -> str:
    """Return a time in words, rounded as an estimate is.

    >>> [about(time) for time in (3.0, 44.0, 100.0, 3e3, 5.4e3, 2.6e5)]
    ['a few seconds', '45 seconds', '2 minutes', '50 minutes', '1.5 hours', '3 days']
    """
    if seconds < 7.5:
        return "a few seconds"
    if seconds < 90:
        return f"{5 * round(seconds / 5)} seconds"
    for unit, size, digits in (("minutes", 60, 0), ("hours", 3600, 1), ("days", 86_400, 1)):
        number = f"{seconds / size:.{digits}f}".removesuffix(".0")
        if unit == "days" or seconds < (5400 if unit == "minutes" else 172_800):
            break
    return f"{number} {unit if number != '1' else unit[:-1]}"


def interval(seconds: float) -> str:
    """Write a time as minutes and seconds, and hours if there are any.

    >>> interval(75.0), interval(3675.0)
    ('01:15', '1:01:15')
    """
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes:02d}:{seconds:02d}"


@dataclass(frozen=True)
class Stage:
    """Count one kind of work in a run: units done, units in all, and about how many seconds are left."""

    name: str
    done: int
    total: int
    seconds_left: float | None = None


@dataclass(frozen=True)
class RunState:
    """Describe a run that has not ended.

    Attributes:
        kind: kind of its results, such as `study`.
        seeds: all seeds that it will run.
        finished: seeds that are complete on disk.
        running: the seed being trained; None before the first one, and if several run side by side.
        stages: its stages in order, over all seeds.
        started, updated: when this call began, and when it last wrote this file; ISO 8601, in UTC.
        stopped: whether it was interrupted, or ended in an error.
        config, environment: as in the results to come.
    """

    kind: str
    seeds: Sequence[int] = ()
    finished: Sequence[int] = ()
    running: int | None = None
    stages: Sequence[Stage] = ()
    started: str = ""
    updated: str = ""
    stopped: bool = False
    config: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)

    @property
    def seconds_left(self) -> float | None:
        """About how long the run still takes; None until every unfinished stage has begun."""
        left = [stage.seconds_left for stage in self.stages if stage.done < stage.total]
        return None if None in left else sum(s for s in left if s is not None)

    def save(self, folder: Path | str) -> Path:
        """Write `progress.json` into `folder`, atomically, and return its path."""
        return write_json(Path(folder) / FILE, asdict(self), sealed=True)


def now() -> str:
    """Return the time to the second, ISO 8601, in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def load_progress(folder: Path | str) -> RunState | None:
    """Read `progress.json` of a run; return None if there is no such file, as after the end of a run.

    Raises:
        InputError: the file is damaged.
    """
    path = Path(folder) / FILE
    try:
        values = read_json(path, sealed=False)
        stages = tuple(typed(Stage, stage) for stage in values.pop("stages", ()))
        return typed(RunState, {**values, "stages": stages})
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, TypeError, AttributeError) as error:
        reason = str(error).rstrip(".")
        raise InputError(f"`{path}` cannot be read: {reason}. Repeat the command that wrote it.") from error
