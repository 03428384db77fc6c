"""Where tasks run: in this process, in joblib's own processes, or on a cluster of Ray or Dask."""

import importlib.util
import logging
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, TypeVar

import joblib
from joblib.externals.loky import get_reusable_executor

from mfh._checks import InputError, require
from mfh._system.signals import shield_workers
from mfh._system.workers.cores import CoreGroups, core_groups, usable

logger = logging.getLogger(__name__)
R = TypeVar("R")
IDLE = 10**6  # seconds; the death of a worker that was started in place of an idle one may go unnoticed
LEAST_JOBS = 2
"""joblib and Ray's backend run a lone job in this process, which would die with it."""
PACKAGES = {"ray": "ray", "dask": "distributed"}


@dataclass(frozen=True)
class WorkerPool:
    """Workers that tasks are given to.

    Attributes:
        count: how many tasks run side by side.
        here: whether tasks run in this process, one after another.
        threads: threads that a worker may use; None if the cluster decides.
        cores: cores for the workers; None in this process, and if a cluster places the workers.
        settings: for `joblib.parallel_config`.
        options: for `joblib.Parallel`.
        shared: whether arrays of results belong to the cluster and cannot be written: they are copied.
    """

    count: int
    here: bool = False
    threads: int | None = None
    cores: CoreGroups | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    shared: bool = False

    def run(self, calls: Iterable[tuple[Callable[..., R], tuple[Any, ...]]], width: int) -> Iterator[R]:
        """Yield results as they come in, `width` calls at a time, each from a process other than this one."""
        with joblib.parallel_config(**self.settings):
            parallel = joblib.Parallel(
                n_jobs=max(LEAST_JOBS, self.count), return_as="generator_unordered", pre_dispatch=width,
                batch_size=1, **self.options,
            )  # fmt: skip
            tasks = (joblib.delayed(call)(*arguments) for call, arguments in calls)
            with shield_workers():
                results = parallel(tasks)
        try:
            for result in results:
                yield deepcopy(result) if self.shared else result
        finally:
            with warnings.catch_warnings():  # joblib warns of what is cancelled
                warnings.simplefilter("ignore", UserWarning)
                results.close()  # ends the workers of an interrupted run
            if self.settings["backend"] == "loky":  # a later run would begin with what is left of this one
                get_reusable_executor().shutdown(wait=True, kill_workers=True)


def require_backend(backend: str) -> None:
    """Raise `InputError` unless the package of a backend is installed."""
    package = PACKAGES.get(backend)
    require(
        package is None or importlib.util.find_spec(package) is not None,
        f"`backend` {backend} is not installed: `pip install 'mfh[cluster]'`, or leave `backend` out to use "
        "processes of this machine.",
    )


@contextmanager
def open_pool(
    jobs: int | None, backend: str = "loky", address: str | None = None, *, threads: int = 1
) -> Iterator[WorkerPool]:
    """Provide workers within a block.

    Args:
        jobs: number of workers; None is one in this process, or all of a cluster.
        backend: `loky`, `ray` or `dask`.
        address: address of the cluster; None starts one on this machine, or takes the one that the
            environment names.
        threads: threads that this process would use by itself; workers of this machine share them.

    Raises:
        InputError: the backend is not installed, or no cluster answers at the address.
    """
    require_backend(backend)
    if backend == "ray":
        with _ray(jobs, address) as pool:
            yield pool
    elif backend == "dask":
        with _dask(jobs, address) as pool:
            yield pool
    elif jobs in (None, 1):
        yield WorkerPool(1, here=True, threads=threads)
    else:
        assert jobs is not None  # noqa: S101
        cores = usable()
        if jobs > len(cores):
            logger.info("`jobs` is %d, this process may use %d cores: workers share them", jobs, len(cores))
        share = max(1, min(threads, len(cores)) // jobs)
        with core_groups(jobs) as groups:
            yield WorkerPool(
                jobs,
                threads=share,
                cores=groups,
                settings={"backend": "loky", "inner_max_num_threads": share},
                options={"idle_worker_timeout": IDLE},
            )


@contextmanager
def _ray(jobs: int | None, address: str | None) -> Iterator[WorkerPool]:
    import ray
    from ray.util.joblib.ray_backend import RayBackend

    class Streaming(RayBackend):
        """Return results as they come in, which the pool behind it can do."""

        supports_return_generator = True

    joblib.register_parallel_backend("mfh-ray", Streaming)
    mine = not ray.is_initialized()
    if mine:
        try:
            ray.init(
                address=address, log_to_driver=False, logging_level=logging.WARNING, include_dashboard=None
            )
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            raise _unreachable("Ray", address, error) from error
    try:
        cores = int(ray.cluster_resources().get("CPU", 0))
        require(
            cores >= LEAST_JOBS,
            f"`backend` ray needs a cluster of {LEAST_JOBS} CPUs or more, one for each worker. Got {cores}.",
        )
        yield WorkerPool(min(jobs or cores, cores), settings={"backend": "mfh-ray"}, shared=True)
    finally:
        if mine:
            ray.shutdown()


@contextmanager
def _dask(jobs: int | None, address: str | None) -> Iterator[WorkerPool]:
    from distributed import Client, LocalCluster
    from joblib._dask import DaskDistributedBackend

    class Outside(DaskDistributedBackend):
        """Count two jobs at least: joblib would run those of a single worker in this process."""

        def effective_n_jobs(self, n_jobs: int) -> int:
            return max(LEAST_JOBS, super().effective_n_jobs(n_jobs))

    joblib.register_parallel_backend("mfh-dask", Outside)
    logging.getLogger("distributed").setLevel(logging.WARNING)
    cluster = None
    if address is None:
        count = jobs or len(usable())
        quiet = {"dashboard_address": "localhost:0", "silence_logs": logging.ERROR}
        cluster = LocalCluster(n_workers=count, threads_per_worker=1, **quiet)
    try:
        client = Client(cluster or address, set_as_default=False)
    except (OSError, ValueError) as error:
        raise _unreachable("Dask", address, error) from error
    try:
        workers = len(client.nthreads())
        require(workers > 0, f"`address` {address!r}: the Dask cluster has no workers. Start some first.")
        yield WorkerPool(min(jobs or workers, workers), settings={"backend": "mfh-dask", "client": client})
    finally:
        client.close()
        if cluster is not None:
            cluster.close()


def _unreachable(name: str, address: str | None, error: Exception) -> InputError:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    problem = "could be started on this machine" if address is None else "answers there"
    return InputError(f"`address` {address!r}: no {name} cluster {problem}. {lines[0].rstrip('.')}.")
