"""VGGSound data: decoding raw and prepared, the loader's wait beside a step, memory over the number of clips.

`vggsound_folder` and `vggsound_tars` are one clip of 10 seconds (25 frames a second, 340 x 256, AAC) decoded
to 32 x 256 x 256 frames and its waveform: the baseline from the mp4, ours from what `prepare` made of it, in
the authors' folder and in tar files. Seconds of the processor, one thread; clips/s per core are noted.

`vggsound_wait_*` compare, in the same epoch, the training step (baseline) with the wait for its batch (ours),
both of wall time: a ratio of 10 is a wait of 10% of the step. `full` is the video network at the released
size on 32 x 256 x 256 frames, `small` one of width 8 on 10 x 32 x 40. Only the video is fed.

`vggsound_memory` is no time: resident megabytes of a process after an epoch over 100 clips (baseline) and
over 800 (ours). A ratio of 1 says that memory does not grow with the number of clips.

The clips are generated: noise, blurred in space and time, under a chord of tones.
"""

import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import nn

from benchmarks._common import measure, record
from mfh import PairedDataset
from mfh.data.sources.vggsound.prepare import prepare
from mfh.data.sources.vggsound.reader import load
from mfh.models.vggsound import video_network
from mfh.training.batches import feed

CLIPS, CLASSES = 4, 2
MANY = (100, 800)
SMALL = {"frames": 10, "size": (32, 40)}
EPOCH = """
import json
import sys
from pathlib import Path
import torch
from mfh.data.sources.vggsound.reader import load
from mfh.training.batches import feed

data = load(sys.argv[1], cache=sys.argv[3] == "cache")
WANTED = ("VmRSS:", "RssAnon:")
rows = torch.arange(int(sys.argv[2])).split(16)
for batch in feed(data, ("audio", "video"), rows, torch.device("cpu")):
    pass
status = [line.split() for line in Path("/proc/self/status").read_text().split("\\n")]
print(json.dumps({line[0][:-1]: int(line[1]) / 1024 for line in status if line and line[0] in WANTED}))
"""


def run() -> None:
    """Write clips, prepare them, and time."""
    for part in (full, small):
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with tempfile.TemporaryDirectory() as folder:
                part(Path(folder))
        finally:
            torch.set_num_threads(threads)


def full(place: Path) -> None:
    """At the released size."""
    index = _write(place, CLIPS, seconds=10, height=256, width=340)
    raw = _seconds(lambda: _prepare(index, place / "folder")) / CLIPS
    _prepare(index, place / "tars", shards=100.0)
    for name in ("folder", "tars"):
        _decoding(name, load(place / name, workers=0), raw)
    _wait("full", load(place / "folder"), batch=1, width=64, most=3)


def small(place: Path) -> None:
    """Many small clips, of which eight differ."""
    index = _write(place, MANY[1], seconds=3, height=64, width=80, kinds=8)
    for count in MANY:
        _prepare(_first(index, count), place / f"small{count}", **SMALL)
    data = place / f"small{MANY[1]}"
    _wait("small", load(data), batch=32, width=8)
    _wait("small_cached", load(data, cache=True), batch=32, width=8)
    _memory(place)


def _write(folder: Path, count: int, *, seconds: int, height: int, width: int, kinds: int = CLIPS) -> Path:
    """`count` clips, of which `kinds` differ, and their csv."""
    (folder / "clips").mkdir(parents=True)
    rng = np.random.default_rng(0)
    contents = [_encode(rng, seconds, height, width) for _ in range(kinds)]
    for i in range(count):
        (folder / "clips" / f"clip{i}_000000.mp4").write_bytes(contents[i % kinds])
    lines = [[f"clip{i}", 0, f"class {i % CLASSES}", "train" if i // 2 % 2 else "test"] for i in range(count)]
    with (folder / "clips.csv").open("w", newline="") as file:
        csv.writer(file).writerows(lines)
    return folder / "clips.csv"


def _first(index: Path, count: int) -> Path:
    path = index.with_name(f"first{count}.csv")
    path.write_text("".join(index.read_text().splitlines(keepends=True)[:count]))
    return path


def _encode(rng: np.random.Generator, seconds: int, height: int, width: int) -> bytes:
    with tempfile.NamedTemporaryFile(suffix=".mp4") as file:
        with av.open(file.name, "w") as container:
            video = container.add_stream("libx264", rate=25, options={"preset": "ultrafast", "crf": "23"})
            video.height, video.width, video.pix_fmt = height, width, "yuv420p"
            audio = container.add_stream("aac", rate=44_100, layout="stereo")
            still = gaussian_filter(rng.normal(size=(height, width, 3)), (8, 8, 0))
            still = 128 + 50 * still / still.std()
            grains = rng.normal(scale=3, size=(4, height, width, 1))
            noisy = (still + grains).clip(0, 255).astype(np.uint8)
            for number in range(25 * seconds):
                moved = np.roll(noisy[number % 4], 2 * number, axis=1)
                frame = av.VideoFrame.from_ndarray(moved, format="rgb24")
                frame.pts, frame.time_base = number, Fraction(1, 25)
                container.mux(video.encode(frame))
            container.mux(video.encode())
            at = np.arange(44_100 * seconds) / 44_100
            tone = sum(0.2 * np.sin(2 * np.pi * hertz * at) for hertz in rng.uniform(100, 5000, 3))
            hissing = (tone + rng.normal(scale=0.02, size=(2, len(at)))).astype(np.float32)
            sound = av.AudioFrame.from_ndarray(hissing, format="fltp", layout="stereo")
            sound.sample_rate = 44_100
            container.mux(audio.encode(sound))
            container.mux(audio.encode())
        return Path(file.name).read_bytes()


def _prepare(index: Path, out: Path, **settings: object) -> None:
    prepare(index, index.parent / "clips", out, jobs=0, progress=False, **settings)  # type: ignore[arg-type]


def _seconds(function: Callable[[], object]) -> float:
    begin = time.process_time()
    function()
    return time.process_time() - begin


def _decoding(name: str, data: PairedDataset, raw: float) -> None:
    """Frames and waveform of every clip; the raw figure includes writing them."""
    rows = torch.arange(len(data))

    def read() -> None:
        for row in rows:
            data.read(["audio", "video"], row[None])

    ours = measure(read, clock=time.process_time) / len(data)
    record(
        f"vggsound_{name}",
        raw,
        ours,
        clips_per_second_per_core={"raw": 1 / raw, "prepared": 1 / ours},
        clip="10 s, 340 x 256 at 25 frames/s, to 32 x 256 x 256 and 16 kHz",
        clock="seconds of the processor per clip, one thread; raw with writing what it becomes",
    )


def _wait(name: str, data: PairedDataset, *, batch: int, width: int, most: int | None = None) -> None:
    """One epoch of steps, and how long each waits for its batch; the first step warms up."""
    torch.manual_seed(0)
    model = video_network(CLASSES, width=width)
    optimizer = torch.optim.AdamW(model.parameters())
    parts = torch.arange(len(data)).split(batch)[:most]
    batches = feed(data, ("video",), parts, torch.device("cpu"))
    waits, steps = [], []
    for _ in parts:
        begin = time.perf_counter()
        given = next(batches)
        middle = time.perf_counter()
        loss = nn.functional.cross_entropy(model(given.inputs[0]), given.label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        waits.append(middle - begin)
        steps.append(time.perf_counter() - middle)
    record(
        f"vggsound_wait_{name}",
        float(np.mean(steps[1:])),
        float(np.mean(waits[1:])),
        wait_percent=100 * float(np.sum(waits[1:]) / np.sum(steps[1:])),
        steps=len(steps) - 1,
        batch=batch,
        width=width,
        frames=list(data.shape("video")),
        clock="wall seconds per step on a CPU, which decodes beside the step",
    )


def _memory(place: Path) -> None:
    found: dict[str, dict[str, float]] = {}
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for kind in ("decoded", "cache"):
        for count in MANY:
            command = [sys.executable, "-c", EPOCH, str(place / f"small{count}"), str(count), kind]
            done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
            found[f"{kind} {count}"] = json.loads(done.stdout)
    first, last = (found[f"decoded {count}"]["VmRSS"] for count in MANY)
    record("vggsound_memory", first, last, unit="resident megabytes", megabytes=found, clips=list(MANY))
