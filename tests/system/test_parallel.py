"""Tasks side by side: workers that die, tasks that fail, cores; on real processes, a real Ray and Dask."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from flaky import work
from flaky_networks import Student
from samples import make_paired

import mfh
from mfh import FitConfig, InputError, StudyConfig
from mfh._study.task import derived_seed
from mfh._system.atomic import OutputError
from mfh._system.files import write_npz
from mfh._system.workers import TaskOutcome, WorkerPool, engines, open_pool, run_tasks
from mfh._system.workers.cores import usable
from mfh.cli import main
from mfh.results import StudyResult

QUICK = StudyConfig(
    resampling="splits",
    teacher="audio",
    student="image",
    seeds=2,
    epochs=2,
    ratio=(0.5,),
    random_draws=1,
    hidden=(8,),
)


SEARCH = FitConfig(
    teacher="audio",
    student="image",
    labelled=("0.3",),
    folds=2,
    budget=8,
    steps=5,
    ratio=(0.5,),
    hidden=(8,),
)
KINDS = ("study", "fit")


@pytest.fixture(scope="module")
def pool() -> Iterator[WorkerPool]:
    with open_pool(2) as opened:
        yield opened


def run(pool: WorkerPool, folder: Path, *troubles: str, retries: int = 2) -> list[TaskOutcome[Any]]:
    given = [(number, str(folder), trouble) for number, trouble in enumerate(troubles)]
    names = [f"Task {number}" for number in range(len(given))]
    ended = list(run_tasks(work, given, pool, names=names, retries=retries))
    return sorted(ended, key=lambda outcome: outcome.number)


def student(folder: Path, trouble: str = "", seed: int = 0) -> partial[Student]:
    """What makes a student; `trouble` comes in one seed."""
    return partial(Student, str(folder), trouble, [derived_seed(seed, "student")])


def test_a_killed_worker_costs_only_time(pool: WorkerPool, tmp_path: Path, caplog: Any) -> None:
    ended = run(pool, tmp_path, "killed once", "", "", "")
    assert [outcome.result[0] for outcome in ended] == [0, 1, 2, 3]
    assert ended[0].tries == 2
    assert "was lost" in ended[0].error
    assert not any(outcome.failed for outcome in ended)
    assert "Task 0 failed and will be begun again (1 of 2 times)" in caplog.text


def test_a_task_that_always_kills_its_worker_is_given_up_alone(pool: WorkerPool, tmp_path: Path) -> None:
    killer, *others = run(pool, tmp_path, "killed", "", "", retries=1)
    assert killer.failed
    assert (killer.tries, killer.result) == (2, None)
    assert [outcome.result[0] for outcome in others] == [1, 2]
    assert not any(outcome.failed for outcome in others)


@pytest.mark.parametrize("here", [True, False])
def test_only_errors_that_may_pass_are_tried_again(pool: WorkerPool, tmp_path: Path, here: bool) -> None:
    pool = WorkerPool(1, here=True) if here else pool
    troubles = "raises once", "raises", "refused", "", "mistyped", "raises by turns", "unreachable"
    once, always, refused, well, mistyped, turns, unreachable = run(pool, tmp_path, *troubles)
    assert (once.tries, once.failed, once.error) == (2, False, "RuntimeError: no 0")
    assert (always.tries, always.failed, always.error) == (2, True, "RuntimeError: no 1")
    assert "in work" in always.trace
    assert (refused.tries, refused.failed) == (1, True)
    assert isinstance(refused.exception, InputError)
    assert (well.tries, well.error, well.result[0]) == (1, "", 3)
    assert (mistyped.tries, mistyped.failed) == (1, True)
    assert (turns.tries, turns.failed, turns.error) == (3, True, "RuntimeError: no 5 at try 3")
    assert (unreachable.tries, unreachable.failed) == (3, True)


@pytest.mark.parametrize("here", [True, False])
def test_no_task_is_begun_once_files_cannot_be_written(pool: WorkerPool, tmp_path: Path, here: bool) -> None:
    with pytest.raises(OutputError, match="No space left"):
        run(WorkerPool(1, here=True) if here else pool, tmp_path, "full", *[""] * 300)
    assert len(list(tmp_path.iterdir())) < 301


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="no affinity on this system")
def test_each_worker_has_cores_of_its_own(pool: WorkerPool, tmp_path: Path) -> None:
    first, second = (outcome.result for outcome in run(pool, tmp_path, "meets", "meets"))
    assert first[1] != second[1] != os.getpid()
    assert len(first[2]) == len(second[2]) == max(1, len(usable()) // 2)
    if len(usable()) > 1:
        assert not set(first[2]) & set(second[2])
    assert set(first[2]) | set(second[2]) <= set(usable())


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(engines.PACKAGES, "ray", "no_such_package")
    with pytest.raises(InputError, match=r"`backend` ray is not installed: `pip install 'mfh\[cluster\]'`"):
        mfh.study(make_paired(), config=replace(QUICK, backend="ray"))


def test_an_address_needs_a_cluster() -> None:
    with pytest.raises(InputError, match="`address` must be left out with the backend loky"):
        StudyConfig(address="auto")


def test_a_study_goes_on_without_a_seed_and_makes_up_for_it(tmp_path: Path, caplog: Any) -> None:
    bad = student(tmp_path, "raises", seed=1)
    lost = mfh.study(make_paired(), None, bad, config=QUICK, out=tmp_path / "out")
    assert lost.missing == (1,)
    assert [(f.seed, f.tries, f.error) for f in lost.failed_seeds] == [(1, 2, "RuntimeError: no 0")]
    assert {record.seed for record in lost.records} == {0}
    assert "The study goes on without fit 1" in caplog.text
    assert "in __init__" in caplog.text
    read = mfh.load_results(tmp_path / "out")
    assert isinstance(read, StudyResult)
    assert read.failed_seeds == lost.failed_seeds

    good = student(tmp_path)
    whole = mfh.study(make_paired(), None, good, config=QUICK, out=tmp_path / "out")
    assert whole.missing == ()
    undisturbed = mfh.study(make_paired(), None, good, config=QUICK)
    assert [r.test for r in whole.records] == [r.test for r in undisturbed.records]


def test_a_study_ends_when_two_seeds_fail_alike_before_any_has_finished(tmp_path: Path) -> None:
    bad = partial(Student, str(tmp_path), "raises", [derived_seed(seed, "student") for seed in (0, 1)])
    with pytest.raises(RuntimeError, match="no 0"):
        mfh.study(make_paired(), None, bad, config=replace(QUICK, retries=0), out=tmp_path / "out")
    assert not (tmp_path / "out" / "results.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("trouble", ["", "killed once"])
@pytest.mark.parametrize("kind", KINDS)
def test_processes_agree_with_one(tmp_path: Path, trouble: str, kind: str) -> None:
    run, config = (mfh.fit, SEARCH) if kind == "fit" else (mfh.study, QUICK)
    alone = run(make_paired(), None, student(tmp_path), config=config)  # type: ignore[operator]
    beside = run(  # type: ignore[operator]
        make_paired(), None, student(tmp_path, trouble), config=replace(config, jobs=2)
    )
    assert plain(beside.to_dict()) == plain(alone.to_dict())
    assert bool(beside.failed_seeds) == bool(trouble)


def plain(result: dict[str, Any]) -> dict[str, Any]:
    """Results without times, and without where and how often they were computed."""
    result = json.loads(json.dumps(result))
    result.pop("checksum", None)
    for name in ("timings", "environment", "failed_seeds"):
        del result[name]
    for name in ("jobs", "backend", "address"):
        del result["config"][name]
    for record in result["records"]:
        del record["seconds"]
    result.get("search", {}).pop("training", None)  # a share of the time
    return result


@contextmanager
def program(*words: str, until: str) -> Iterator[str]:
    """A program in a process group of its own; the first line of its output that holds `until`."""
    process = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    assert process.stdout is not None
    try:
        yield next(line for line in process.stdout if until in line)
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(60)
        with suppress(ProcessLookupError):  # what is left of the group
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()


HELPERS = str(Path(__file__).parents[1] / "helpers")
PYTHONPATH = os.pathsep.join([HELPERS, *filter(None, [os.environ.get("PYTHONPATH")])])


@pytest.fixture(scope="module")
def cluster_environment() -> Iterator[None]:
    """What workers need to find the networks of the tests, and to do without a token in the home folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", PYTHONPATH)
        patch.setenv("RAY_AUTH_MODE", "disabled")
        yield


def needs(package: str) -> None:
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed: pip install 'mfh[cluster]'")


@pytest.fixture(scope="module")
def dask_address(cluster_environment: None) -> Iterator[str]:
    needs("distributed")
    dask = str(Path(sys.executable).with_name("dask"))
    with program(dask, "scheduler", "--port", "0", "--no-dashboard", until="Scheduler at:") as line:
        address = line.split()[-1]
        worker = [dask, "worker", address, "--nthreads", "1", "--no-dashboard", "--nworkers", "2"]
        with program(*worker, until="Starting established connection"):
            yield address


@pytest.fixture(scope="module")
def ray_address(cluster_environment: None) -> Iterator[str]:
    needs("ray")
    ray = str(Path(sys.executable).with_name("ray"))
    head = ["--head", "--port", "0", "--num-cpus", "2", "--include-dashboard", "false", "--block"]
    with program(ray, "start", *head, until="--address='") as line:
        yield line.split("--address='")[1].split("'")[0]


OPTIONS = {
    "study": "--resampling splits --seeds 2 --epochs 2 --ratio 0.5 --random-draws 1 --hidden 8",
    "fit": "--labelled 0.3 --folds 2 --budget 8 --steps 5 --ratio 0.5 --hidden 8",
}


def command(folder: Path, trouble: str = "", seed: int = 0, kind: str = "study") -> list[str]:
    """`mfh study` or `mfh fit` on `make_paired`, with `Student`, as words."""
    data = make_paired()
    arrays = {name: data.inputs(name, slice(None)).numpy() for name in data.modalities}
    write_npz(folder / "data.npz", {**arrays, "label": data.label.numpy()})
    drawn = [derived_seed(seed, "student")]
    arguments = {"folder": str(folder), "trouble": trouble, "drawn": drawn}
    spec = {"student_network": {"class_path": "flaky_networks.Student", "init_args": arguments}}
    (folder / "study.yaml").write_text(json.dumps(spec))
    options = f"--teacher audio --student image {OPTIONS[kind]}"
    files = ["--config", str(folder / "study.yaml"), "--data", str(folder / "data.npz")]
    return [kind, *files, *options.split()]


def test_the_command_names_the_seed_that_is_missing(tmp_path: Path, capsys: Any) -> None:
    words = [*command(tmp_path, "raises", seed=1), "--out", str(tmp_path / "out"), "--retries", "0"]
    assert main(words) == 1
    shown = capsys.readouterr()
    assert "general (chosen)" in shown.out
    last = shown.err.strip().splitlines()[-1]
    assert last.startswith("mfh: 1 of 2 fits are missing from the results: fit 1 failed in 1 try (")
    assert "RuntimeError: no 0" in last
    assert last.endswith("Repeat the command to run it again: what is finished is kept.")
    assert "Fit 1 is missing" in (tmp_path / "out" / "report.html").read_text()


def in_shell(words: list[str]) -> str:
    """Run `mfh` as a program of its own, which must succeed; what it says on stderr."""
    done = subprocess.run(
        [sys.executable, "-m", "mfh", *words],
        env=os.environ | {"PYTHONPATH": PYTHONPATH}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stderr


def read(folder: Path) -> dict[str, Any]:
    return plain(json.loads((folder / "results.json").read_text()))


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["ray", "dask"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_cluster_agrees_with_one_process(kind: str, backend: str, tmp_path: Path, request: Any) -> None:
    address = request.getfixturevalue(f"{backend}_address")
    words = command(tmp_path, "killed once", kind=kind)
    (tmp_path / "killed once-0").touch()  # nothing happens to the first
    in_shell([*words, "--out", str(tmp_path / "alone")])
    (tmp_path / "killed once-0").unlink()
    out = str(tmp_path / "cluster")
    told = in_shell([*words, "--out", out, "--backend", backend, "--address", address])
    assert read(tmp_path / "cluster") == read(tmp_path / "alone")
    assert (tmp_path / "killed once-0").exists()
    if backend == "ray":  # Dask gives the task of a dead worker to another one by itself
        assert "Fit 0 failed and will be begun again" in told
    (tmp_path / "cluster" / "results.json").unlink()
    for path in (tmp_path / "cluster" / "state").glob("seed-0001.*"):  # as if it had been stopped here
        path.unlink()
    told = in_shell([*words, "--out", out, "--backend", backend, "--address", address])
    assert "not writable" not in told  # arrays that belong to the cluster
    assert {"study": "Resuming: 1 of 2 fits", "fit": "Resuming: 2 of 3 fits"}[kind] in told
    assert read(tmp_path / "cluster") == read(tmp_path / "alone")


@pytest.mark.slow
def test_a_cluster_of_one_worker_works_there(tmp_path: Path, cluster_environment: None) -> None:
    needs("distributed")
    with open_pool(1, "dask") as one:
        processes = {outcome.result[1] for outcome in run(one, tmp_path, "", "")}
    assert one.count == len(processes) == 1
    assert os.getpid() not in processes


@pytest.mark.slow
def test_an_interrupt_ends_the_workers(tmp_path: Path) -> None:
    words = [*command(tmp_path, "sleeps"), "--out", str(tmp_path / "out"), "--jobs", "2"]
    process = subprocess.Popen(
        [sys.executable, "-m", "mfh", *words],
        env=os.environ | {"PYTHONPATH": PYTHONPATH},
        stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not (tmp_path / "sleeps-0").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    worker = int((tmp_path / "sleeps-0").read_text())
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "mfh: stopped" in told
    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)
