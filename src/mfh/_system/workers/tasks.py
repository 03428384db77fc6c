"""Run tasks, and run failed ones again, so that one failure does not end the others.

A worker that dies (killed, out of memory) ends all tasks that run beside it, and nobody can tell which of
them caused it: each counts as failed once, and runs alone when only one try is left to it.
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
from mfh._system.workers.cores import CoreGroups
from mfh._system.workers.engines import WorkerPool

logger = logging.getLogger(__name__)
R = TypeVar("R")
Call = tuple[Callable[..., Any], tuple[Any, ...]]
CERTAIN = (InputError, TypeError, AttributeError, NameError, NotImplementedError, SyntaxError, AssertionError)
"""Errors of the arguments or the code, which every further try would meet again."""
CIRCUMSTANCES = (OSError, MemoryError)
"""Errors of the machine, which may be gone at the next try however often they came."""
_one_at_a_time = threading.Lock()  # tasks seed the random generators of their process


@dataclass(frozen=True, eq=False)
class TaskOutcome(Generic[R]):
    """How a task ended after its last try.

    Attributes:
        number: of the task.
        result: what it returned; None if it `failed`.
        tries: how often it was begun.
        error: the last failure, on one line; empty if the first try succeeded.
        failed: whether the last try failed too.
        exception: that failure itself, or what is left of it from another process; None unless `failed`.
        trace: its traceback, as text; empty if there is none to show.
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
    """An exception as it leaves a process.

    Attributes:
        error: the exception in one line.
        trace: its traceback.
        exception: itself, or a copy that can be pickled.
        certain: whether every further try would fail in the same way.
        cause: type, text and place of the error; empty if the machine is the cause.
    """

    error: str
    trace: str
    exception: Exception
    certain: bool = False
    cause: str = ""


def run_tasks(
    call: Callable[..., R],
    arguments: Sequence[tuple[Any, ...]],
    pool: WorkerPool,
    *,
    names: Sequence[str],
    retries: int = 2,
) -> Iterator[TaskOutcome[R]]:
    """Call a function with each of several arguments, and yield how each call ended, as it ends.

    A failed task is begun again after the others, up to `retries` times. It is not begun again after an error
    in `CERTAIN`, or if it fails twice in a row with the same error at the same line, unless the cause is the
    machine (`CIRCUMSTANCES`, a lost worker).

    Args:
        call: the function; if the pool has processes, it, its arguments and its results are pickled.
        arguments: the arguments of each task.
        pool: the workers.
        names: names of the tasks in messages.
        retries: how often a failed task is begun again at most.

    Raises:
        OutputError: a task could not write its files; no other task is begun.
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
                    yield TaskOutcome(number, found, task.tries, task.error)
                elif isinstance(found.exception, OutputError):
                    raise found.exception
                elif task.note(found):
                    waiting.remove(number)
                    yield TaskOutcome(
                        number, None, task.tries, task.error, True, found.exception, found.trace
                    )


@dataclass
class _Task:
    name: str
    retries: int
    tries: int = 0
    error: str = ""
    cause: str = ""
    lost: bool = False

    def note(self, failure: _Failure) -> bool:
        """Note a failure and log it; return whether it was the last one."""
        again = bool(failure.cause) and failure.cause == self.cause
        self.error, self.cause = failure.error, failure.cause
        final = self.tries > self.retries or failure.certain or again
        what = "is given up" if final else f"will be begun again ({self.tries} of {self.retries} times)"
        logger.warning("%s failed and %s: %s", self.name, what, self.error)
        return final


def _round(
    call: Callable[..., R],
    arguments: Sequence[tuple[Any, ...]],
    pool: WorkerPool,
    state: Sequence[_Task],
    batch: Sequence[int],
    width: int,
) -> Generator[tuple[int, R | _Failure], None, None]:
    """Begin some tasks once each, and yield what became of them."""
    running: set[int] = set()

    def calls() -> Iterator[Call]:
        for number in batch:
            running.add(number)
            state[number].tries += 1
            yield _attempt, (number, call, arguments[number], pool.cores, pool.here)

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
        reason = f"its worker, or one beside it, was lost ({type(error).__name__})"
        for number in sorted(running):
            state[number].lost = True
            yield number, _Failure(reason, "", RuntimeError(f"{state[number].name} failed: {reason}."))
    finally:
        results.close()  # type: ignore[attr-defined]


def _attempt(
    number: int, call: Callable[..., R], given: tuple[Any, ...], cores: CoreGroups | None, here: bool
) -> tuple[int, R | _Failure]:
    """Try a task once, in whatever process this is."""
    try:
        with _one_at_a_time:
            if cores is not None:
                cores.take()
            return number, call(*given)
    except InputError as error:
        return number, _Failure(_line(error), "", error, certain=True)
    except Exception as error:  # noqa: BLE001 - logged, and raised by the caller if nothing succeeds
        kept = error if here else RuntimeError(_line(error))  # not every exception can be pickled
        trace = traceback.format_exc().rstrip()
        certain = isinstance(error, CERTAIN)
        return number, _Failure(_line(error), trace, kept, certain, _cause(error))


def _cause(error: Exception) -> str:
    """Return what two failures have in common if a third one would be the same; see `_Failure`."""
    if isinstance(error, CIRCUMSTANCES) or type(error).__name__ == "OutOfMemoryError":  # of a GPU
        return ""
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{place.filename}:{place.lineno} {_line(error)}"


def _line(error: Exception) -> str:
    text = one_line(error)
    text = text if len(text) <= 300 else text[:297] + "..."
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
