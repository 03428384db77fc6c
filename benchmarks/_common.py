"""Timing, and the file that keeps the figures."""

import datetime
import json
import os
import platform
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from mfh._system.files import write_json
from mfh.results import environment

RESULTS = Path(__file__).with_name("results.json")
RECORDED: dict[str, dict[str, Any]] = {}  # by this process
KEEP = True  # whether `record` writes to RESULTS
FULL = True  # whether to run the settings that take longer too


def measure(
    function: Callable[[], object],
    *,
    repeats: int = 3,
    warmup: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Seconds of the fastest of `repeats` calls, after `warmup` calls that are not timed.

    The fastest is what the code takes; the others are that and whatever else the machine was doing. What runs
    on one thread can be timed by `time.process_time`, which leaves out the waiting on a busy machine.
    """
    for _ in range(warmup):
        function()
    seconds = []
    for _ in range(repeats):
        begin = clock()
        function()
        seconds.append(clock() - begin)
    return min(seconds)


def record(name: str, baseline_seconds: float, ours_seconds: float, **notes: object) -> dict[str, Any]:
    """Keep a figure: its ratio, both times, what ran it and where, and `notes` that explain it."""
    versions = environment()
    entry = {
        "ratio": baseline_seconds / ours_seconds,
        "baseline": baseline_seconds,
        "ours": ours_seconds,
        "machine": f"{_processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads",
        "versions": {"mfh": versions["mfh"], "python": versions["python"], **versions["packages"]},
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        **notes,
    }
    RECORDED[name] = entry
    if KEEP:
        kept = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
        write_json(RESULTS, dict(sorted((kept | {name: entry}).items())))
    return entry


def committed() -> dict[str, dict[str, Any]]:
    """The figures of the last commit; none outside of a repository."""
    command = ["git", "show", f"HEAD:./{RESULTS.name}"]
    shown = subprocess.run(command, cwd=RESULTS.parent, capture_output=True, text=True, check=False)
    return json.loads(shown.stdout) if shown.returncode == 0 else {}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
