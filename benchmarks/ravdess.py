"""The RAVDESS experiment against the procedure that was released, at full size: 40 x 256 and 3 x 256 x 512.

`ravdess_epoch` is one epoch of distillation on a slice of 104 clips (64 train, 20 validation, 20 test). The
baseline decodes every file again, runs the teacher in every step, rectifies before it pools, and takes the
accuracy on all three splits after the epoch. Ours reads arrays that were decoded once and teacher outputs
that were computed once (both noted, neither counted), and validates on the validation split. Both make the
same steps from the same weights, which is checked.

`ravdess_saliency` is step 2 at place 5 (128 channels), `ravdess_saliency_place4` at place 4 (1024 channels),
with 10 permutations. The baseline is one full forward pass of the teacher per channel and permutation, timed
on a slice of passes and scaled. Ours is one pass of the trunk and the saliency, exact at place 5. The
student's logits, needed once by both, count on neither side. All times are seconds of the processor on one
thread.
"""

import csv
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import adaptive_max_pool2d, kl_div, max_pool2d, mse_loss
from torch.utils.data import DataLoader, Dataset

from benchmarks._common import record
from mfh import PairedDataset, TrainConfig, saliency, split
from mfh._formulas import accuracy
from mfh.data.sources.ravdess.reader import NormalizeAudio, NormalizeImage, load
from mfh.experiments._steps.parts import in_parts
from mfh.experiments._steps.training import predict_rows
from mfh.models.ravdess import RavdessNetwork
from mfh.training.batches import epoch_order
from mfh.training.loop import fit
from mfh.training.objectives import Distill
from mfh.training.teacher_outputs import teacher_logits

SIZES = {"spa_dl.csv": 64, "spa_val.csv": 20, "spa_test.csv": 20}
BATCH, LR, MOMENTUM, CLASSES = 32, 0.01, 0.9, 8
SAMPLES, PERMUTATIONS = 128, 10


class Plain(nn.Module):
    """The released order of operations: ReLU before pooling, default memory layout."""

    def __init__(self, network: RavdessNetwork) -> None:
        super().__init__()
        for name in ("conv1", "conv2", "conv3", "fc1", "fc2", "fc3"):
            setattr(self, name, getattr(network, name))

    def forward(self, x: Tensor, place: int = -1, change: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Logits; what a place puts out passes through `change`."""
        x = max_pool2d(torch.relu(self.conv1(x)), 2, 2)
        x = max_pool2d(torch.relu(self.conv2(x)), 2, 2)
        x = adaptive_max_pool2d(torch.relu(self.conv3(x)), (7, 14)).flatten(1)
        x = torch.relu(self.fc1(x))
        x = torch.relu(self.fc2(change(x) if change and place == 4 else x))
        return self.fc3(change(x) if change and place == 5 else x)


class Files(Dataset):
    """Decodes a sample's two files each time it is asked for."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder / "data"
        with (self.folder / "data_file" / name).open() as file:
            self.rows = list(csv.reader(file))[1:]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, int]:
        audio, image, label = self.rows[index]
        values = torch.from_numpy(np.load(self.folder / "aud_features" / audio)).float()[None]
        pixels = np.asarray(Image.open(self.folder / "vid_features" / image).convert("RGB"))
        picture = torch.from_numpy(pixels.transpose(2, 0, 1).copy())
        return NormalizeAudio()(values[None])[0], NormalizeImage()(picture[None])[0], int(label)


def run() -> None:
    """Time the epoch, then saliency at places 5 and 4."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng():
            torch.manual_seed(0)
            _write(Path(folder))
            _epoch(Path(folder))
            _saliency()
    finally:
        torch.set_num_threads(threads)


def _write(folder: Path) -> None:
    """Noise in the authors' layout."""
    rng = np.random.default_rng(0)
    for name in ("aud_features", "vid_features", "data_file"):
        (folder / "data" / name).mkdir(parents=True)
    number = 0
    for name, size in SIZES.items():
        rows = [("audio", "image", "label")]
        for _ in range(size):
            rows.append((f"{number}.npy", f"{number}.jpg", number % CLASSES))
            values = rng.normal(-10, 80, size=(40, 256)).astype(np.float32)
            np.save(folder / "data" / "aud_features" / f"{number}.npy", values)
            pixels = np.kron(rng.integers(0, 255, size=(32, 64, 3)), np.ones((8, 8, 1))).astype(np.uint8)
            Image.fromarray(pixels).save(folder / "data" / "vid_features" / f"{number}.jpg", quality=95)
            number += 1
        with (folder / "data" / "data_file" / name).open("w", newline="") as file:
            csv.writer(file).writerows(rows)


def _epoch(folder: Path) -> None:
    begin = time.process_time()
    data = load(folder)
    decoding = time.process_time() - begin
    teacher, student = RavdessNetwork("audio").eval(), RavdessNetwork("image")
    start = {name: value.clone() for name, value in student.state_dict().items()}

    _warm_up(data)
    plain = Plain(student)
    released = _seconds(lambda: _released_epoch(folder, Plain(teacher), plain))
    theirs = {name: value.clone() for name, value in student.state_dict().items()}

    begin = time.process_time()
    logits = teacher_logits(teacher, data, "audio")
    answering = time.process_time() - begin
    student.load_state_dict(start)
    student.zero_grad()  # the baseline leaves its last gradient
    ours = _seconds(lambda: _our_epoch(data, student, logits))
    for name, value in student.state_dict().items():
        torch.testing.assert_close(value - start[name], theirs[name] - start[name], rtol=0.01, atol=1e-7)
    record(
        "ravdess_epoch",
        released,
        ours,
        clips=sum(SIZES.values()),
        training_clips=SIZES["spa_dl.csv"],
        picture="256 x 512",
        decoding_once=decoding,
        teacher_outputs_once=answering,
        clock="seconds of the processor, one thread",
    )


def _released_epoch(folder: Path, teacher: Plain, student: Plain) -> None:
    train = Files(folder, "spa_dl.csv")
    order = epoch_order(len(train), 0, 1).tolist()
    optimizer = torch.optim.SGD(student.parameters(), lr=LR, momentum=MOMENTUM)
    for audio, image, _ in DataLoader(train, batch_size=BATCH, sampler=order):
        with torch.no_grad():
            target = torch.softmax(teacher(audio), dim=1)
        loss = kl_div(torch.log_softmax(student(image), dim=1), target, reduction="none").mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        for name in SIZES:
            for _, image, label in DataLoader(Files(folder, name), batch_size=BATCH):
                accuracy(student(image), label)


def _warm_up(data: PairedDataset) -> None:
    """What is imported and set up once a process."""
    _our_epoch(data, RavdessNetwork("image", width=1), torch.zeros(len(data), CLASSES), count=2)


def _our_epoch(data: PairedDataset, student: nn.Module, logits: Tensor, count: int | None = None) -> None:
    train, validation = (
        torch.from_numpy(np.flatnonzero(data.split == name)[:count]) for name in ("train", "validation")
    )
    config = TrainConfig(lr=LR, momentum=MOMENTUM, batch_size=BATCH, epochs=1, device="cpu")
    fit(
        student,
        data,
        Distill(teacher_logits=logits, label_weight=0, distill_weight=1 / CLASSES),
        modalities=("image",),
        train=train,
        score=lambda m: accuracy(predict_rows(m, data, "image", validation), data.label[validation]),
        config=in_parts(config, data, "image"),
        seed=0,
    )


def _saliency() -> None:
    teacher = RavdessNetwork("audio").eval()
    plain = Plain(teacher)
    audio = torch.randn(SAMPLES, 1, 40, 256)
    with torch.no_grad():
        student = teacher(audio) + 0.1 * torch.randn(SAMPLES, CLASSES)
    generator = torch.Generator().manual_seed(0)
    permutations = [torch.randperm(SAMPLES, generator=generator) for _ in range(PERMUTATIONS)]
    for place, channels, num_permutations in ((5, 128, "exact"), (4, 1024, PERMUTATIONS)):
        result = None

        def ours(place: int = place, count: int | str = num_permutations) -> None:
            nonlocal result
            trunk, head = split(teacher, f"relu{place}")
            with torch.no_grad():
                features = trunk(audio)
            result = saliency(features, head, student, num_permutations=count, warn=False)

        channel = int(split(teacher, f"relu{place}")[0](audio[:8]).sum(0).argmax())  # one that is not idle
        values: list[float] = []
        work = partial(_passes, plain, audio, student, channel, place, permutations, values)
        seconds = _seconds(work)
        spent = min(_seconds(ours) for _ in range(3))
        assert result is not None
        _agree(values, float(result.mean[channel]), exact=place == 5)
        record(
            "ravdess_saliency" if place == 5 else "ravdess_saliency_place4",
            seconds * channels,
            spent,
            samples=SAMPLES,
            channels=channels,
            permutations=PERMUTATIONS,
            passes_timed=PERMUTATIONS,
            passes_scaled_to=PERMUTATIONS * channels,
            clock="seconds of the processor, one thread",
        )


@torch.no_grad()
def _passes(
    teacher: Plain,
    audio: Tensor,
    student: Tensor,
    channel: int,
    place: int,
    permutations: list[Tensor],
    values: list[float],
) -> None:
    """One channel's share of the baseline: a full pass per permutation."""
    for permutation in permutations:

        def permute(features: Tensor, order: Tensor = permutation) -> Tensor:
            features[:, channel] = features[order, channel]
            return features

        values.append(float(mse_loss(teacher(audio, place, permute), student)))


def _agree(values: list[float], ours: float, *, exact: bool) -> None:
    """Stop when the baseline and the library disagree on the channel that both have done."""
    mean = float(np.mean(values))
    tolerance = 5 * float(np.std(values)) / len(values) ** 0.5 + 1e-5 * mean if exact else 1e-4 * mean
    if abs(mean - ours) > tolerance:
        raise RuntimeError(f"The baseline and the library disagree: {mean} and {ours}.")


def _seconds(function: Callable[[], object]) -> float:
    begin = time.process_time()
    function()
    return time.process_time() - begin
