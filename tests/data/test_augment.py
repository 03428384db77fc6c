"""Random changes of training inputs: what they do, and that they are each sample's own."""

import pytest
import torch

from mfh import InputError
from mfh.data.augment import Augment, SpectrogramAugment, VideoAugment, shifted
from mfh.training.batches import sample_draws


def draws(count: int, num_draws: int = 5) -> torch.Tensor:
    return sample_draws(0, 0, torch.arange(count), num_draws)


def test_draws_are_uniform_and_depend_on_seed_step_row_and_stream() -> None:
    values = sample_draws(3, 5, torch.arange(20_000), 4)
    assert values.shape == (20_000, 4)
    assert 0 <= values.min() < 1e-3
    assert 0.999 < values.max() < 1
    expected = torch.arange(1, 11) / 10
    for column in values.T:
        shares = (column[:, None] < expected).float().mean(dim=0)
        assert (shares - expected).abs().max() < 0.015
    assert torch.corrcoef(values.T).fill_diagonal_(0).abs().max() < 0.03
    lagged = torch.corrcoef(torch.stack([values[:-1, 0], values[1:, 0]]))[0, 1]
    assert abs(lagged) < 0.03
    rows = torch.arange(20_000)
    for other in (sample_draws(4, 5, rows, 4), sample_draws(3, 6, rows, 4), sample_draws(3, 5, rows, 4, 1)):
        assert (other == values).float().mean() < 1e-3
        assert torch.corrcoef(torch.stack([other[:, 0], values[:, 0]]))[0, 1].abs() < 0.03


@pytest.mark.parametrize("wrap", [True, False])
def test_shifting_is_rolling_or_repeating_the_edge(wrap: bool) -> None:
    batch = torch.randn(5, 2, 7, generator=torch.Generator().manual_seed(0))
    by = torch.tensor([-3, -1, 0, 2, 7])
    moved = shifted(batch, by, 2, wrap=wrap)
    for sample, after, places in zip(batch, moved, by.tolist(), strict=True):
        if wrap:
            assert torch.equal(after, sample.roll(places, 1))
        else:
            expected = [sample[:, min(max(i - places, 0), 6)] for i in range(7)]
            assert torch.equal(after, torch.stack(expected, dim=1))


def test_spectrograms_are_shifted_and_masked_within_bounds() -> None:
    batch = torch.randn(400, 1, 20, 30, generator=torch.Generator().manual_seed(0))
    before = batch.clone()
    change = SpectrogramAugment(shift=4, time_mask=6, frequency_mask=5)
    after = change(batch, draws(400))
    assert torch.equal(batch, before)
    masked = (after - batch.mean(dim=(1, 2, 3), keepdim=True)).abs() < 1e-6
    columns, rows = masked.all(dim=2).sum(dim=-1).flatten(), masked.all(dim=3).sum(dim=-1).flatten()
    assert set(columns.tolist()) == set(range(7))
    assert set(rows.tolist()) == set(range(6))
    only_shift = SpectrogramAugment(shift=4, time_mask=0, frequency_mask=0)(batch, draws(400))
    moves = [
        next(s for s in range(-4, 5) if torch.equal(b.roll(s, 2), a))
        for a, b in zip(only_shift, batch, strict=True)
    ]
    assert set(moves) == set(range(-4, 5))


def test_masks_longer_than_the_input_are_cut() -> None:
    change = SpectrogramAugment(shift=1, time_mask=100, frequency_mask=100)
    assert change(torch.randn(50, 1, 3, 4), draws(50)).isfinite().all()


def test_clips_are_shifted_scaled_and_mirrored() -> None:
    batch = torch.randn(300, 3, 4, 6, 5, generator=torch.Generator().manual_seed(0))
    mirrored = VideoAugment(shift=0, flip=True)(batch, draws(300))
    turned = torch.tensor([torch.equal(a, b.flip(3)) for a, b in zip(mirrored, batch, strict=True)])
    same = torch.tensor([torch.equal(a, b) for a, b in zip(mirrored, batch, strict=True)])
    assert bool((turned ^ same).all())
    assert 0.4 < turned.float().mean() < 0.6
    scaled = VideoAugment(shift=0, contrast=0.25)(batch, draws(300))
    factors = (scaled / batch).flatten(1)
    assert (factors.std(dim=1) < 1e-5).all()
    assert factors.min() >= 0.75 - 1e-4
    assert factors.max() <= 1.25 + 1e-4
    moved = VideoAugment(shift=1, frames=1)(batch, draws(300))
    by = (draws(300)[:, :3] * 3).floor().long() - 1  # height, width, time
    expected = batch
    for dim, column in ((3, 0), (4, 1), (2, 2)):
        expected = shifted(expected, by[:, column], dim)
    assert torch.equal(moved, expected)
    assert not torch.equal(moved, batch)
    assert torch.equal(VideoAugment(shift=0)(batch, draws(300)), batch)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(InputError, match="`time_mask` must be 0 or more"):
        SpectrogramAugment(time_mask=-1)
    with pytest.raises(InputError, match="`contrast` must lie in"):
        VideoAugment(contrast=1.0)
    assert isinstance(SpectrogramAugment(), Augment)
