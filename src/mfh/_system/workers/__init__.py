"""Run independent tasks side by side, in processes of this machine or on a Ray or Dask cluster."""

from mfh._system.workers.engines import WorkerPool as WorkerPool
from mfh._system.workers.engines import open_pool as open_pool
from mfh._system.workers.engines import require_backend as require_backend
from mfh._system.workers.tasks import TaskOutcome as TaskOutcome
from mfh._system.workers.tasks import run_tasks as run_tasks
