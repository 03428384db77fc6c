"""How far a run has come, in `progress.json` of its folder: written while it runs, gone when it has ended."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mfh._checks import InputError, typed
from mfh._system.files import read_json, write_json

FILE = "progress.json"


@dataclass(frozen=True)
class Stage:
    """One kind of work: how much of it there is, is done, and about how many seconds are left."""

    name: str
    done: int
    total: int
    seconds_left: float | None = None


@dataclass(frozen=True)
class Progress:
    """What a run that has not ended says of itself.

    Attributes:
        kind: that of its result, such as `study`.
        seeds: all that it will run.
        finished: those that are complete on disk.
        running: the seed being trained; None before the first and where several run side by side.
        stages: its stages in order, over all seeds.
        started, updated: when this call began, and when it last wrote this; ISO 8601, in UTC.
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
        """About how long until the end; None before every stage that is left has begun."""
        left = [stage.seconds_left for stage in self.stages if stage.done < stage.total]
        return None if None in left else sum(s for s in left if s is not None)

    def save(self, folder: Path | str) -> Path:
        """Write `progress.json` into `folder`, atomically; returns its path."""
        return write_json(Path(folder) / FILE, asdict(self), sealed=True)


def now() -> str:
    """The time, to the second, in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def load_progress(folder: Path | str) -> Progress | None:
    """Read `progress.json` of a run; None where there is none, as after its end.

    Raises:
        InputError: it is damaged.
    """
    path = Path(folder) / FILE
    try:
        values = read_json(path, sealed=False)
        stages = tuple(typed(Stage, stage) for stage in values.pop("stages", ()))
        return typed(Progress, {**values, "stages": stages})
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, TypeError, AttributeError) as error:
        reason = str(error).rstrip(".")
        raise InputError(f"`{path}` cannot be read: {reason}. Repeat the command that wrote it.") from error
