"""The VGGSound commands on two processes: results of one, each file once, resume, a killed worker.

Each test starts processes that import everything anew, so all but the saliency of merged shares are slow.
"""

import json
import os
import subprocess
import sys
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from clips import make_videos
from safetensors.torch import load_file
from torch import nn
from vggsound_samples import CONFIG, make_vggsound

import mfh
from mfh.data.sources.vggsound.prepare import prepare
from mfh.training.device import Processes
from mfh.training.saliency import dataset_saliency

pytestmark = pytest.mark.filterwarnings("ignore:.*have a negative increase")
TESTS = Path(__file__).parents[1] / "helpers"


class Double(nn.Module):
    """Inputs as rows of float64: on some processors float32 products depend on how many rows there are."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1).double()


@pytest.mark.parametrize("score", ["increase", "followed"])
def test_shares_of_the_samples_are_merged_to_ten_digits(score: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = make_vggsound(count=41)
    torch.manual_seed(0)
    trunk = nn.Sequential(Double(), nn.LazyLinear(12, dtype=torch.float64))
    trunk(data.inputs("audio", torch.arange(2)))
    head = nn.Linear(12, 3, dtype=torch.float64)
    rows, student = torch.arange(41), torch.randn(41, 3, dtype=torch.float64)
    whole = dataset_saliency(trunk, head, data, "audio", rows, student, score=score)
    held: list[mfh.SaliencyAccumulator] = []

    def gather(_: Processes, value: mfh.SaliencyAccumulator) -> list[mfh.SaliencyAccumulator]:
        held.insert(0, deepcopy(value))
        return deepcopy(held)

    monkeypatch.setattr(Processes, "gather", gather)
    for rank in (2, 1, 0):  # the last one called has what all have taken in
        share = Processes(rank, 3, torch.device("cpu"))
        monkeypatch.setattr(Processes, "on", staticmethod(lambda _, share=share: share))
        merged = dataset_saliency(trunk, head, data, "audio", rows, student, score=score)
    assert merged.num_samples == 41
    np.testing.assert_allclose(merged.values, whole.values, rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(merged.stderr, whole.stderr, rtol=1e-8)


# --- two processes

SCRIPT = """
import json, sys
from dataclasses import replace
import torch
sys.path.insert(0, {tests!r})
from torch import nn
from vggsound_samples import CONFIG, make_vggsound
from mfh.data.augment import SpectrogramAugment, VideoAugment
from mfh.experiments import vggsound
from mfh.models.vggsound import LAYER

def plain(modality, config, num_classes):
    # without batch normalisation, which would look at each process's share of a batch
    network = vggsound.network(modality, config, num_classes)
    for name, layer in list(network.named_modules()):
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            parent, _, leaf = name.rpartition(".")
            setattr(network.get_submodule(parent), leaf, nn.Identity())
    return network

if {plain}:
    object.__setattr__(vggsound.RECIPE, "build", lambda config, m, k: plain(m, config, k))
data = make_vggsound().with_augment(
    dict(audio=SpectrogramAugment(shift=1, time_mask=1, frequency_mask=9), video=VideoAugment(shift=1))
)
config = replace(CONFIG, lr=1e-3, micro_batch={micro})
vggsound.pretrain(data, {out!r}, modality="audio", config=config)
vggsound.pretrain(data, {out!r}, modality="video", config=config)
vggsound.saliency(data, {out!r}, config=config)
result = vggsound.distill(data, {out!r}, mode="general", config=config)
if torch.distributed.is_initialized():
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
"""


def launch(command: list[str], processes: int, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run Python with these arguments in so many processes, or in one without a launcher."""
    start = [sys.executable]
    if processes > 1:
        start += ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    return subprocess.run(
        [*start, *command], cwd=folder, capture_output=True, text=True, timeout=500, check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def run(folder: Path, processes: int, *, plain: bool = True, micro: int | None = None) -> Path:
    out = folder / f"out-{processes}-{micro}"
    script = folder / "script.py"
    script.write_text(SCRIPT.format(tests=str(TESTS), out=str(out), plain=plain, micro=micro))
    done = launch([str(script)], processes, folder)
    assert done.returncode == 0, done.stderr[-4000:]
    return out


@pytest.mark.slow
def test_two_processes_give_what_one_gives(tmp_path: Path) -> None:
    """Augmented, with an uneven last batch of 2 of 18 samples, in parts and in processes."""
    one, two, parts = run(tmp_path, 1), run(tmp_path, 2), run(tmp_path, 1, micro=3)
    names = sorted(str(p.relative_to(one)) for p in one.rglob("*") if p.is_file())
    for other in (two, parts):
        assert sorted(str(p.relative_to(other)) for p in other.rglob("*") if p.is_file()) == names
        for name in ("teacher-regular", "student-regular", "distilled-general-0.5"):
            first, second = (
                load_file(o / "checkpoints" / "seed-0000" / f"{name}.safetensors") for o in (one, other)
            )
            for key, value in first.items():
                torch.testing.assert_close(second[key], value, rtol=1e-3, atol=1e-5)
        first, second = (mfh.SaliencyResult.load(o / "saliency-regular.npz") for o in (one, other))
        np.testing.assert_allclose(second.values, first.values, rtol=1e-3, atol=1e-6)
        records = [json.loads((o / "state" / "seed-0000.json").read_text())["records"] for o in (one, other)]
        assert [r["arm"] for r in records[0]] == ["no-kd", "general"]
        assert [r["test"] for r in records[0]] == [r["test"] for r in records[1]], "exact over 17 samples"
        first, second = (np.load(o / "state" / "seed-0000.npz")["correct"] for o in (one, other))
        np.testing.assert_array_equal(first, second)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    labels = [f"class {i % 3}" for i in range(45)]
    csv = make_videos(folder, labels, split=lambda i: "test" if i // 3 % 3 == 2 else "train")
    prepare(csv, folder / "clips", folder / "data", frames=6, size=(16, 20), jobs=0, progress=False)
    return folder / "data"


STUDY = ["--width", "2", "--epochs", "2", "--seeds", "1", "--ratio", "0.5", "--random-draws", "1",
         "--smoothing", "0.1", "--batch-size", "9", "--pixel-shift", "1", "--workers", "1"]  # fmt: skip


@pytest.mark.slow
def test_a_killed_worker_ends_the_study_which_goes_on_with_another_number(
    prepared: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    # so that networks of a test count as large, and one worker dies among the students
    (tmp_path / "sitecustomize.py").write_text(
        "import os\n"
        "if os.environ.get('DIES') and os.environ.get('RANK') == '1':\n"
        "    import mfh.training.students as students\n"
        "    original, calls = students._train_one, []\n"
        "    def train(*arguments):\n"
        "        calls.append(1)\n"
        "        if len(calls) == 5:\n"
        "            os.kill(os.getpid(), 9)\n"
        "        return original(*arguments)\n"
        "    students._train_one = train\n"
    )
    command = [
        "-m",
        "mfh",
        "vggsound",
        "study",
        "--data",
        str(prepared),
        "--out",
        str(out),
        *STUDY,
        "--quiet",
    ]
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", path)
        patch.setenv("DIES", "1")
        died = launch(command, 2, tmp_path)
    assert died.returncode != 0
    assert "SIGKILL" in died.stderr or "Signal 9" in died.stderr
    assert not (out / "results.json").exists()
    parts = out / "state" / "seed-0000"
    finished = {p.parent.name: p.stat().st_mtime_ns for p in parts.glob("*/best.safetensors")}
    assert {"teacher-regular", "teacher-unimodal", "pair", "no-kd"} <= set(finished)
    done = launch(command, 1, tmp_path)
    assert done.returncode == 0, done.stderr[-4000:]
    result = mfh.load_results(out)
    assert {"no-kd", "general", "important", "softened", "self"} <= {r.arm for r in result.records}
    assert (out / "report.html").exists()
    assert not parts.exists()
    again = launch(command, 2, tmp_path)
    assert again.returncode == 0, again.stderr[-4000:]
    assert again.stdout.count("no-kd-smoothed") == done.stdout.count("no-kd-smoothed"), "printed once"


@pytest.mark.slow
def test_an_error_of_the_user_is_told_under_a_launcher(tmp_path: Path) -> None:
    command = ["-m", "mfh", "vggsound", "pretrain", "--modality", "audio", "--data", "none", "--out", "out"]
    done = launch(command, 2, tmp_path)
    assert done.returncode != 0
    assert "mfh: `data` must hold" in done.stderr
    assert (
        "Traceback (most recent call last)" not in done.stderr.split("ChildFailedError")[0].split("mfh:")[0]
    )
    assert not (tmp_path / "out").exists()


def test_the_config_of_the_tests_trains_on_an_uneven_last_batch() -> None:
    assert len(make_vggsound().split[make_vggsound().split == "train"]) % CONFIG.batch_size == 2  # type: ignore[index]
    assert replace(CONFIG, micro_batch=3).micro_batch == 3
