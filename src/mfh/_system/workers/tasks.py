"""Tasks that are begun again when they fail, so that one failure does not cost the others.

A worker that dies (killed, out of memory) ends all that run beside it, and nobody can say which of them was
at fault: each counts as failed once, and runs by itself when only one try is left to it.
"""

import logging
import threading
import traceback
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from mfh._checks import InputError, one_line
from mfh._system.atomic import OutputError
from mfh._system.workers.cores import Pins
from mfh._system.workers.engines import Pool

logger = logging.getLogger(__name__)
R = TypeVar("R")
Call = tuple[Callable[..., Any], tuple[Any, ...]]
_one_at_a_time = threading.Lock()  # tasks seed the generators of their process


@dataclass(frozen=True, eq=False)
class Outcome(Generic[R]):
    """How a task ended for good.

    Attributes:
        number: of the task.
        result: what it returned; None where `failed`.
        tries: how often it was begun.
        error: the last failure, on one line; empty where the first try succeeded.
        failed: whether the last try failed too.
        exception: that failure itself, or what is left of it from another process; None unless `failed`.
        trace: its traceback, as text; empty where there is none to show.
    """

    number: int
    result: R | None
    tries: int
    error: str = ""
    failed: bool = False
    exception: Exception | None = None
    trace: str = ""


@dataclass(frozen=True)
class _Failure:
    """An exception as it leaves a process."""

    error: str
    trace: str
    exception: Exception


def run_tasks(
    call: Callable[..., R],
    arguments: Sequence[tuple[Any, ...]],
    pool: Pool,
    *,
    names: Sequence[str],
    retries: int = 2,
) -> Iterator[Outcome[R]]:
    """Call a function with each of several arguments, and hand over how each ended, as it ends.

    Args:
        call: the function; where the pool has processes, it and what it takes and returns are pickled.
        arguments: for each task the arguments.
        pool: the workers.
        names: what messages call the tasks.
        retries: times that a failed task is begun again, after the others. What breaks a rule
            (`InputError`) would do so again, and is not repeated.

    Raises:
        OutputError: a task could not write its files; no other one is begun.
    """
    state = [_Task(names[number], retries) for number in range(len(arguments))]
    waiting = list(range(len(arguments)))
    while waiting:
        alone = [n for n in waiting if state[n].lost and state[n].tries == retries]
        together = [n for n in waiting if n not in alone]
        batch, width = (together, pool.count) if together else (alone[:1], 1)
        with closing(_round(call, arguments, pool, state, batch, width)) as ended:
            for number, found in ended:
                task = state[number]
                if not isinstance(found, _Failure):
                    waiting.remove(number)
                    yield Outcome(number, found, task.tries, task.error)
                elif isinstance(found.exception, OutputError):
                    raise found.exception
                elif task.note(found):
                    waiting.remove(number)
                    yield Outcome(number, None, task.tries, task.error, True, found.exception, found.trace)


@dataclass
class _Task:
    name: str
    retries: int
    tries: int = 0
    error: str = ""
    lost: bool = False

    def note(self, failure: _Failure) -> bool:
        """Take in a failure and tell of it; whether it was the last one."""
        self.error = failure.error
        final = self.tries > self.retries or isinstance(failure.exception, InputError)
        what = "is given up" if final else f"will be begun again ({self.tries} of {self.retries} times)"
        logger.warning("%s failed and %s: %s", self.name, what, self.error)
        return final


def _round(
    call: Callable[..., R],
    arguments: Sequence[tuple[Any, ...]],
    pool: Pool,
    state: Sequence[_Task],
    batch: Sequence[int],
    width: int,
) -> Generator[tuple[int, R | _Failure], None, None]:
    """Begin some tasks once each."""
    running: set[int] = set()

    def calls() -> Iterator[Call]:
        for number in batch:
            running.add(number)
            state[number].tries += 1
            yield _attempt, (number, call, arguments[number], pool.pins, pool.here)

    if pool.here:
        for attempt, given in calls():
            yield attempt(*given)
        return
    results = pool.run(calls(), width)
    try:
        for number, found in results:
            running.discard(number)
            yield number, found
    except Exception as error:
        if not running:
            raise
        logger.warning("A worker was lost: %s", _line(error))
        told = f"its worker, or one beside it, was lost ({type(error).__name__})"
        for number in sorted(running):
            state[number].lost = True
            yield number, _Failure(told, "", RuntimeError(f"{state[number].name} failed: {told}."))
    finally:
        results.close()  # type: ignore[attr-defined]


def _attempt(
    number: int, call: Callable[..., R], given: tuple[Any, ...], places: Pins | None, here: bool
) -> tuple[int, R | _Failure]:
    """One try, in whatever process."""
    try:
        with _one_at_a_time:
            if places is not None:
                places.pin()
            return number, call(*given)
    except InputError as error:
        return number, _Failure(_line(error), "", error)
    except Exception as error:  # noqa: BLE001 - told, and raised by whoever asked when nothing succeeds
        kept = error if here else RuntimeError(_line(error))  # not every exception can be pickled
        return number, _Failure(_line(error), traceback.format_exc().rstrip(), kept)


def _line(error: Exception) -> str:
    text = one_line(error)
    text = text if len(text) <= 300 else text[:297] + "..."
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
