"""Saliency against one evaluation of the head for every channel and permutation.

512 channels, 100 classes, 20,000 samples, 100 permutations: 51,200 evaluations of the head alone (the
released code runs the whole network). The baseline overwrites one column of one copy, so it moves as little
as a plain loop can; captum's FeaturePermutation copies all of the features each time. Both are timed on a
slice and scaled, since a loop's time is proportional to its number of evaluations. Heads that are not linear
are also asked for a precision, and the loop draws until it errs as little. Everything runs on one
thread and is timed in seconds of the processor, so that the ratios depend little on what else the machine
is doing.
"""

import time
from functools import partial

import numpy as np
import torch
from captum.attr import FeaturePermutation
from torch import nn
from torch.nn.functional import mse_loss

from benchmarks._common import measure, record
from mfh import SaliencyResult, saliency, split
from mfh.models.ravdess import RavdessNetwork, layer_of_place

CHANNELS, OUTPUTS, SAMPLES, PERMUTATIONS, HIDDEN = 512, 100, 20_000, 100, 256
EVALUATIONS = CHANNELS * PERMUTATIONS
SLICE_CHANNELS, SLICE_PERMUTATIONS = 8, 5
FEW_SAMPLES, PRECISION = 2_000, 1e-3
TOKEN_SAMPLES, TOKENS, WIDTH, CLASSES = 256, 8, 64, 10
CLIPS = 128
seconds = partial(measure, repeats=1, warmup=0, clock=time.process_time)


def run() -> None:
    """Time the exact and the sampled saliency of a linear head, and the sampled one of a perceptron."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        _run()
    finally:
        torch.set_num_threads(threads)


def _run() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(SAMPLES, CHANNELS, generator=generator)
    linear = nn.Linear(CHANNELS, OUTPUTS)
    perceptron = nn.Sequential(nn.Linear(CHANNELS, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, OUTPUTS))
    for parameter in (*linear.parameters(), *perceptron.parameters()):
        parameter.data.normal_(std=CHANNELS**-0.5, generator=generator)
    noise = torch.randn(SAMPLES, OUTPUTS, generator=generator)
    with torch.no_grad():
        student = 0.5 * linear(features) + 0.5 * noise
    work = {
        "channels": CHANNELS,
        "outputs": OUTPUTS,
        "samples": SAMPLES,
        "permutations": PERMUTATIONS,
        "baseline_evaluations_timed": SLICE_CHANNELS * SLICE_PERMUTATIONS,
        "baseline_evaluations_scaled_to": EVALUATIONS,
    }

    plain, values = _plain(features, linear, student)
    captum = _captum(features, linear, student)
    exact = seconds(lambda: saliency(features, linear, student), repeats=16)
    record("saliency_exact", plain, exact, captum=captum, captum_ratio=captum / exact, **work)

    sampled = seconds(lambda: saliency(features, linear, student, num_permutations=PERMUTATIONS))
    record("saliency_sampled", plain, sampled, captum=captum, captum_ratio=captum / sampled, **work)
    _agree(values, saliency(features, linear, student, num_permutations=SLICE_PERMUTATIONS))

    plain, values = _plain(features, perceptron, student)
    results = []
    once = seconds(
        lambda: results.append(saliency(features, perceptron, student, num_permutations=1, warn=False))
    )
    sampled = once * PERMUTATIONS
    _agree(values[:, :1], results[0])
    record("saliency_sampled_perceptron", plain, sampled, hidden=HIDDEN, permutations_timed=1, **work)
    few = slice(0, FEW_SAMPLES)
    _precise("sampled_saliency", features[few], perceptron, student[few])
    _precise("sampled_saliency_transformer", *_tokens(generator))
    for place in (4, 3):
        _precise(f"sampled_saliency_place{place}", *_ravdess(place, generator))


class _Block(nn.Module):
    """A transformer's last block, the mean over tokens, and a linear classifier; (sample, channel, token)."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.TransformerEncoderLayer(WIDTH, 4, 2 * WIDTH, dropout=0, batch_first=True)
        self.classifier = nn.Linear(WIDTH, CLASSES)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.block(tokens.transpose(1, 2)).mean(1))


def _tokens(generator: torch.Generator) -> tuple[torch.Tensor, nn.Module, torch.Tensor]:
    """Features of a layer of tokens, what follows it, and a student."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        head = _Block().eval()
    features = torch.randn(TOKEN_SAMPLES, WIDTH, TOKENS, generator=generator)
    features = features + torch.randn(TOKEN_SAMPLES, WIDTH, 1, generator=generator)
    with torch.no_grad():
        logits = head(features)
    return features, head, 0.5 * logits + 0.5 * torch.randn(logits.shape, generator=generator)


@torch.no_grad()
def _ravdess(place: int, generator: torch.Generator) -> tuple[torch.Tensor, nn.Module, torch.Tensor]:
    """Features at a place of the RAVDESS audio network at full size, what follows, and a student."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        trunk, head = split(RavdessNetwork("audio").eval(), layer_of_place(place))
    features = trunk(torch.randn(CLIPS, 1, 40, 256, generator=generator))
    logits = head(features)
    noise = torch.randn(logits.shape, generator=generator)
    return features, head, 0.5 * logits + 0.5 * logits.std() * noise


@torch.no_grad()
def _precise(name: str, features: torch.Tensor, head: nn.Module, student: torch.Tensor) -> None:
    """Time the draws that a ranking needs, against a loop that draws until it errs as little.

    The loop runs `PERMUTATIONS` times over a few channels, which shows its standard error and its time; both
    are scaled, the number of its permutations to our standard error, the time to all channels. Both must
    agree.
    """
    results: list[SaliencyResult] = []
    ours = seconds(
        lambda: results.append(
            saliency(features, head, student, num_permutations=1000, precision=PRECISION, warn=False)
        )
    )
    result = results[0]
    chosen = np.linspace(0, features.shape[1] - 1, SLICE_CHANNELS).astype(int)
    permuted, values = features.clone(), np.zeros((SLICE_CHANNELS, PERMUTATIONS))
    generator = torch.Generator().manual_seed(1)

    def loop() -> None:
        for row, i in np.ndindex(*values.shape):
            order, channel = torch.randperm(len(features), generator=generator), chosen[row]
            permuted[:, channel] = features[order, channel]
            values[row, i] = mse_loss(head(permuted), student)
            permuted[:, channel] = features[:, channel]

    plain = seconds(loop) * features.shape[1] / SLICE_CHANNELS
    noise = values.var(axis=1, ddof=1) / PERMUTATIONS
    errors = np.hypot(np.sqrt(noise), result.stderr_permutation[chosen])
    away = np.abs(values.mean(axis=1) - result.mean[chosen])
    if (away > 5 * errors + 1e-6 * result.baseline).any():
        raise RuntimeError(f"The loop and the library disagree by {away}, with errors of {errors}.")
    needed = PERMUTATIONS * noise.mean() / np.square(result.stderr_permutation[chosen]).mean()
    record(
        name,
        plain * needed / PERMUTATIONS,
        ours,
        ratio_at_100_permutations=plain / ours,
        permutations_drawn=result.num_permutations,
        permutations_of_the_baseline=needed,
        head_call_seconds=plain / features.shape[1] / PERMUTATIONS,
        head_calls_per_channel=ours / plain * PERMUTATIONS,
        precision=PRECISION,
        samples=len(features),
        channels=features.shape[1],
    )


def _permutations() -> torch.Tensor:
    """The first permutations that `saliency` draws by default."""
    generator = torch.Generator().manual_seed(0)
    return torch.stack([torch.randperm(SAMPLES, generator=generator) for _ in range(SLICE_PERMUTATIONS)])


@torch.no_grad()
def _plain(features: torch.Tensor, head: nn.Module, student: torch.Tensor) -> tuple[float, np.ndarray]:
    """Seconds that a loop over channels and permutations takes, and the distances of the slice timed.

    The fastest channel counts, as the fastest repetition does for ours, which takes about as long.
    """
    permuted, permutations = features.clone(), _permutations()
    values = np.zeros((SLICE_CHANNELS, SLICE_PERMUTATIONS))

    def loop(channel: int) -> None:
        for i, permutation in enumerate(permutations):
            permuted[:, channel] = features[permutation, channel]
            values[channel, i] = mse_loss(head(permuted), student)
        permuted[:, channel] = features[:, channel]

    fastest = min(seconds(lambda c=c: loop(c), repeats=2) for c in range(SLICE_CHANNELS))
    return fastest * EVALUATIONS / SLICE_PERMUTATIONS, values


@torch.no_grad()
def _captum(features: torch.Tensor, head: nn.Module, student: torch.Tensor) -> float:
    """Seconds that captum takes; the channels beyond the slice count as one feature."""
    calls = 0

    def distance(x: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return mse_loss(head(x), student)

    mask = torch.arange(CHANNELS).clamp_max(SLICE_CHANNELS)[None]
    with torch.random.fork_rng():
        taken = seconds(lambda: FeaturePermutation(distance).attribute(features, feature_mask=mask))
    return taken * EVALUATIONS / calls


def _agree(values: np.ndarray, result: SaliencyResult) -> None:
    """Stop when the loop and the library differ on the same permutations."""
    mean, ours = values.mean(axis=1), result.mean[: len(values)]
    if not np.allclose(mean, ours, rtol=1e-5):
        raise RuntimeError(f"The baseline and the library disagree: {mean} and {ours}.")
