"""Exact saliency of a million samples in files, against the bare matrix products that it needs.

1,000,000 samples x 512 channels x 309 classes, float32. The baseline takes the three products of each block
(the head's logits, their way back to the channels, the student's) on numbers that lie in memory, in blocks of
the same size, and does nothing else; ours reads the files, checks them, and takes all moments besides. One
thread, in seconds of the processor. Then both again at smaller sizes, to see how the cost grows.
"""

import re
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks import _common
from benchmarks._common import measure, record
from mfh._saliency import SaliencyAccumulator, streaming_saliency

SAMPLES, CHANNELS, OUTPUTS = 1_000_000, 512, 309
BLOCK = 512
SIZES = {
    "samples": [(n, 512, 309) for n in (62_500, 125_000, 250_000, 500_000)],
    "channels": [(125_000, c, 309) for c in (256, 512, 1024, 2048)],
    "outputs": [(125_000, 512, k) for k in (128, 256, 512, 1024)],
}
seconds = partial(measure, repeats=1, warmup=0, clock=time.process_time)


def run() -> None:
    """Time the whole, its error against float64, and how the cost grows."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory() as folder:
            _run(Path(folder))
    finally:
        torch.set_num_threads(threads)


def _run(folder: Path) -> None:
    growth = {}
    for name, sizes in SIZES.items() if _common.FULL else ():
        taken = [_time(folder, *size) for size in sizes]
        values = [size[list(SIZES).index(name)] for size in sizes]
        slope = np.polyfit(np.log(values), np.log(taken), 1)[0]
        growth[name] = {"values": values, "seconds": taken, "exponent": float(slope)}
    error = _error(folder)
    ours = _time(folder, SAMPLES, CHANNELS, OUTPUTS)
    record(
        "streaming_saliency",
        _bare(SAMPLES, CHANNELS, OUTPUTS),
        ours,
        samples=SAMPLES,
        channels=CHANNELS,
        outputs=OUTPUTS,
        samples_per_second=SAMPLES / ours,
        largest_error_against_float64=error,
        peak_resident_megabytes=_peak(),
        growth=growth,
    )


def _write(folder: Path, samples: int, channels: int, outputs: int) -> tuple[Path, Path, torch.Tensor]:
    """Features, a student that follows some of them, and a head."""
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(outputs, channels), scale=channels**-0.5).astype(np.float32)
    paths = folder / "features.npy", folder / "student.npy"
    with paths[0].open("wb") as first, paths[1].open("wb") as second:  # a memory map would count as ours
        for file, width in ((first, channels), (second, outputs)):
            header = {"descr": "<f4", "fortran_order": False, "shape": (samples, width)}
            np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, samples, 4096):
            shape = min(4096, samples - start), channels
            features = rng.standard_normal(shape, dtype=np.float32)
            features.tofile(first)
            (features[:, ::2] @ weight[:, ::2].T).tofile(second)
    return *paths, torch.from_numpy(weight)


def _time(folder: Path, samples: int, channels: int, outputs: int) -> float:
    features, student, weight = _write(folder, samples, channels, outputs)
    return seconds(lambda: streaming_saliency(features, student, weight, warn=False))


def _bare(samples: int, channels: int, outputs: int) -> float:
    """Seconds of the products alone."""
    generator = torch.Generator().manual_seed(0)
    h = torch.randn(BLOCK, channels, generator=generator)
    s = torch.randn(BLOCK, outputs, generator=generator)
    weight = torch.randn(outputs, channels, generator=generator)
    z, q, p = torch.empty_like(s), torch.empty_like(h), torch.empty_like(h)

    def products() -> None:
        for _ in range(samples // BLOCK):
            torch.mm(h, weight.T, out=z)
            torch.mm(z, weight, out=q)
            torch.mm(s, weight, out=p)

    return seconds(products)


def _error(folder: Path) -> float:
    """Largest difference of a score from that of float64 throughout, over the largest score."""
    features, student, weight = _write(folder, 50_000, CHANNELS, OUTPUTS)
    ours = streaming_saliency(features, student, weight, warn=False)
    exact = SaliencyAccumulator(weight)
    exact.update(*(torch.from_numpy(np.load(path)) for path in (features, student)))
    reference = exact.compute(warn=False)
    return float(abs(ours.increase - reference.increase).max() / abs(reference.increase).max())


def _peak() -> float | None:
    status = Path("/proc/self/status")
    found = re.search(r"VmHWM:\s+(\d+)", status.read_text()) if status.exists() else None
    return int(found[1]) / 1024 if found else None
