"""Selecting channels, their means, and the teacher without them."""

import copy
import json
import math
import pickle
import threading
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mfh import InputError
from mfh._focus import FocusedTeacher, channel_means, select, split


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Spatial(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(2, 5, 3, padding=1), nn.BatchNorm2d(5))
        self.fc = nn.Linear(5 * 4 * 4, 3)

    def forward(self, x):
        return self.fc(torch.relu_(self.body(x)).flatten(1))


class Recurrent(nn.Module):
    """Its layer returns a tuple, and channels come last."""

    def __init__(self):
        super().__init__()
        self.rnn, self.fc = nn.GRU(4, 6, batch_first=True), nn.Linear(6, 3)

    def forward(self, x):
        return {"logits": self.fc(self.rnn(x)[0].mean(1))}


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.fixture
def mlp():
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))


VALUES = torch.tensor([0.5, 0.1, 0.9, 0.1, 0.9, 0.3])


def test_select_arms_and_ties():
    assert select(VALUES, 0.5, "general").tolist() == [1, 3, 5]
    assert select(VALUES, 0.5, "important").tolist() == [1, 3, 5]
    assert select(VALUES, 0.5, "specific").tolist() == [0, 2, 4]
    assert select(VALUES, 1 / 6, "general").tolist() == [3]  # of equals the higher index is the less salient
    assert select(VALUES, 1 / 6, "specific").tolist() == [2]


def test_select_takes_arrays_lists_and_results():
    class Result:
        values = VALUES.numpy()

    expected = select(VALUES, 0.5, "general")
    for saliency in (VALUES.numpy(), VALUES.tolist(), Result(), VALUES.double().requires_grad_()):
        removed = select(saliency, 0.5, "general")
        assert torch.equal(removed, expected)
        assert removed.dtype == torch.int64


@pytest.mark.parametrize(("ratio", "channels", "count"), [
    (0.3, 10, 3), (0.29, 100, 29), (0.57, 100, 57), (1 / 3, 3, 1), (2 / 3, 300, 200), (0.25, 7, 1),
    (0.999, 10, 9), (1 - 1e-12, 10, 9), (0.0, 10, 0),
])  # fmt: skip
def test_select_counts_exactly(ratio, channels, count):
    assert len(select(draw(channels), ratio, "general")) == count


@given(st.integers(1, 9999), st.integers(1, 2000))
def test_select_counts_as_decimals_do(parts, channels):
    ratio = Decimal(parts) / 10000
    count = math.floor(Fraction(ratio) * channels)
    if count:
        assert len(select(np.arange(channels), float(ratio), "general")) == count


@settings(max_examples=50)
@given(st.lists(st.integers(-3, 3), min_size=2, max_size=30), st.floats(0.5, 0.99), st.integers(0, 5))
def test_select_properties(values, ratio, seed):
    values = np.array(values, dtype=float)
    arms = {
        arm: select(values, ratio, arm, generator=torch.Generator().manual_seed(seed)).tolist()
        for arm in ("general", "specific", "important", "random")
    }
    for removed in arms.values():
        assert removed == sorted(set(removed))
        assert len(removed) == len(arms["general"])
        assert set(removed) <= set(range(len(values)))
    kept = np.setdiff1d(np.arange(len(values)), arms["general"])
    assert values[arms["general"]].max() <= values[kept].min()
    kept = np.setdiff1d(np.arange(len(values)), arms["specific"])
    assert values[arms["specific"]].min() >= values[kept].max()
    ranking = sorted(range(len(values)), key=lambda c: (-values[c], c))
    assert set(arms["general"]) == set(ranking[len(ranking) - len(arms["general"]) :])
    assert set(arms["specific"]) == set(ranking[: len(arms["specific"])])


def test_select_random_depends_on_the_generator_alone():
    draws = [
        select(draw(40), 0.5, "random", generator=torch.Generator().manual_seed(s)).tolist()
        for s in (1, 1, 2)
    ]
    assert draws[0] == draws[1] != draws[2]
    state = torch.get_rng_state()
    select(draw(40), 0.5, "random", generator=torch.Generator().manual_seed(0))
    assert torch.equal(torch.get_rng_state(), state)


def test_select_warns_when_a_ratio_removes_nothing():
    with pytest.warns(
        UserWarning, match=r"`ratio` 0\.05 removes nothing: floor\(0\.05 x 10\) channels is 0.*0\.1"
    ):
        assert select(draw(10), 0.05, "general").tolist() == []


RATIO = "`ratio` of `select` must lie in [0, 1). Got"


@pytest.mark.parametrize(("saliency", "ratio", "arm", "text"), [
    (VALUES, 1.0, "general", f"{RATIO} 1.0: removing every channel leaves nothing to teach."),
    (VALUES, -0.1, "general", f"{RATIO} -0.1: it is a share of the channels."),
    (VALUES, float("nan"), "general", f"{RATIO} nan: it is a share of the channels."),
    (VALUES, 0.5, "best",
     "`arm` of `select` must be one of `general`, `important`, `random`, `specific`. Got 'best'."),
    (VALUES, 0.5, "random",
     "`generator` of `select` must be given for the arm `random`, so that its channels can be drawn again. "
     "Pass torch.Generator().manual_seed(...)."),
    (torch.zeros(2, 3), 0.5, "general",
     "`saliency` of `select` must contain one value per channel. Got shape (2, 3)."),
    (torch.tensor([1.0, float("nan")]), 0.5, "general",
     "`saliency` of `select` must be finite. Channels [1] are not, so they have no rank."),
])  # fmt: skip
def test_select_errors(saliency, ratio, arm, text):
    with pytest.raises(InputError) as error:
        select(saliency, ratio, arm)
    assert str(error.value) == text


def test_select_refuses_what_is_no_array():
    with pytest.raises(InputError, match="must be an array of numbers"):
        select("abc", 0.5, "general")


def test_channel_means_of_features():
    features = draw(300, 4, 3, 2)
    assert torch.allclose(channel_means(features), features.mean((0, 2, 3)), atol=1e-6)
    assert torch.allclose(channel_means(features, per_position=True), features.mean(0), atol=1e-6)
    assert torch.allclose(channel_means(features, channel_dim=-1), features.mean((0, 1, 2)), atol=1e-6)
    assert channel_means(features).dtype == torch.float32
    assert channel_means(torch.tensor([[1, 2], [2, 4]])).tolist() == [1.5, 3]


def test_channel_means_of_batches_of_different_sizes_and_lengths():
    batches = [draw(2, 3, 4), draw(5, 3, 7, seed=1)]
    flat = torch.cat([b.transpose(0, 1).flatten(1) for b in batches], dim=1)
    assert torch.allclose(channel_means(batches), flat.mean(1), atol=1e-6)
    with pytest.raises(InputError, match=r"features of one shape. Got \(3, 7\) after \(3, 4\)"):
        channel_means(batches, per_position=True)


def test_channel_means_runs_the_trunk_in_evaluation_mode():
    model = Spatial().train()
    model.body[1].running_mean.add_(1)
    x = draw(20, 2, 4, 4)
    trunk, _ = split(model, "body")
    expected = copy.deepcopy(model.body).eval()(x).mean((0, 2, 3))
    for inputs in (x, x.split(7), [(part,) for part in x.split(7)], [{"x": part} for part in x.split(7)]):
        means = channel_means(inputs, trunk)
        assert torch.allclose(means, expected, atol=1e-6)
        assert not means.requires_grad
    assert model.body[1].num_batches_tracked == 0
    assert model.training


def test_channel_means_keep_small_differences_of_large_values():
    features = torch.full((100_000, 1), 1e4) + torch.tensor([0.0, 0.25]).repeat(50_000)[:, None]
    assert channel_means(features).item() == pytest.approx(10000.125, abs=1e-3)


def test_channel_means_errors():
    with pytest.raises(InputError, match="at least one sample"):
        channel_means([])
    with pytest.raises(
        InputError, match=r"`channel_dim` of `channel_means` must .* Got 0 for shape \(3, 2\)"
    ):
        channel_means(draw(3, 2), channel_dim=0)
    with pytest.raises(InputError, match="Got 1 for shape"):
        channel_means(draw(3))
    with pytest.raises(InputError, match=r"`channel_means` must return a tensor\. Got tuple"):
        channel_means([draw(3, 5, 4)], nn.GRU(4, 6))


def test_equals_the_computation_by_hand(mlp):
    x = draw(5, 4)
    hidden = torch.relu(mlp[0](x))
    for fill, values in (("zero", [0.0, 0.0]), (2, [2.0, 2.0]), (torch.tensor([1.0, -1.0]), [1.0, -1.0]),
                         (np.arange(6.0), [4.0, 1.0])):  # fmt: skip
        changed = hidden.clone()
        changed[:, [4, 1]] = torch.tensor(values)
        assert torch.equal(FocusedTeacher(mlp, "1", [4, 1], fill)(x), mlp[2](changed))


def test_spatial_fill_per_channel_and_per_position():
    model, x = Spatial().eval(), draw(7, 2, 4, 4)
    trunk, head = split(model, "body")
    features = trunk(x)
    for fill in (channel_means(features), channel_means(features, per_position=True)):
        changed = features.clone()
        changed[:, [0, 3]] = fill[[0, 3]] if fill.ndim > 1 else fill[[0, 3]].view(2, 1, 1)
        for given_fill in (fill, fill[[0, 3]]):
            teacher = FocusedTeacher(model, "body", torch.tensor([0, 3]), given_fill)
            assert torch.allclose(teacher(x), head(changed), atol=1e-6)
    with pytest.raises(InputError, match=r"each of its positions \(4, 4\). Got positions \(2, 2\)"):
        FocusedTeacher(model, "body", [0], torch.zeros(5, 2, 2))(x)


def test_channels_in_the_last_dimension_of_a_tuple():
    model, x = Recurrent(), draw(3, 5, 4)
    hidden = model.rnn(x)[0].clone()
    hidden[:, :, [0, 5]] = torch.tensor([1.0, 2.0])
    teacher = FocusedTeacher(model, "rnn", [0, 5], torch.tensor([1.0, 2.0]), channel_dim=-1)
    assert torch.allclose(teacher(x)["logits"], model.fc(hidden.mean(1)))


def test_nothing_removed_changes_nothing(mlp):
    x = draw(5, 4)
    for removed in ([], torch.tensor([], dtype=torch.long)):
        for fill in ("zero", 0.5, torch.zeros(6), torch.zeros(0)):
            assert torch.equal(FocusedTeacher(mlp, "1", removed, fill)(x), mlp(x))


def test_a_sample_does_not_depend_on_its_batch():
    model, x = Spatial().eval(), draw(6, 2, 4, 4)
    teacher = FocusedTeacher(model, "body", [1, 2], channel_means(x, split(model, "body")[0]))
    alone = torch.cat([teacher(sample) for sample in x.split(1)])
    assert torch.allclose(alone, teacher(x), atol=1e-6)
    assert torch.allclose(teacher(torch.cat([x[:1], 100 * x[1:]]))[:1], alone[:1], atol=1e-6)


def test_the_model_and_other_teachers_do_not_know_of_it(mlp):
    x = draw(5, 4)
    before = mlp(x)
    first, second = FocusedTeacher(mlp, "1", [0, 1, 2], 9), FocusedTeacher(mlp, "1", [3, 4, 5], 9)
    nested = FocusedTeacher(FocusedTeacher(mlp, "0", [0], 9), "model.1", [1], 9)
    outputs = [teacher(x) for teacher in (first, second, nested)]
    assert torch.equal(mlp(x), before)
    assert not torch.equal(outputs[0], outputs[1])
    assert all(torch.equal(t(x), o) for t, o in zip((first, second, nested), outputs, strict=True))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        first(draw(5, 7))
    assert not any(m._forward_hooks for m in mlp.modules())


def test_threads_that_share_a_model():
    entered, leave = threading.Event(), threading.Event()

    class Waiting(nn.Module):
        def forward(self, x):
            if threading.current_thread() is not threading.main_thread():
                entered.set()
                assert leave.wait(10)
            return x

    model, x, found = nn.Sequential(Waiting(), nn.Linear(4, 3)), draw(5, 4), []
    teacher = FocusedTeacher(model, "1", [0, 1, 2], 7)
    thread = threading.Thread(target=lambda: found.append(teacher(x)))
    thread.start()
    assert entered.wait(10)
    plain = model(x)
    leave.set()
    thread.join()
    assert torch.equal(found[0], torch.full((5, 3), 7.0))
    assert torch.equal(plain, model(x))


def test_deepcopy_and_pickle(mlp):
    x = draw(5, 4)
    teacher = FocusedTeacher(mlp, "1", [0, 3], channel_means(draw(9, 6)))
    expected = teacher(x)
    for other in (copy.deepcopy(teacher), pickle.loads(pickle.dumps(teacher))):
        assert torch.equal(other(x), expected)
        assert other.model is not mlp
    twin = copy.deepcopy(teacher)
    with torch.no_grad():
        twin.model[2].bias.add_(1)
    assert torch.equal(teacher(x), expected)


def test_moves_with_the_model(mlp):
    teacher = FocusedTeacher(mlp, "1", [0], 0.5).double()
    assert teacher(draw(5, 4).double()).dtype == torch.float64
    assert teacher.removed.dtype == torch.int64
    mlp.bfloat16()  # the model alone: the fill follows the features
    assert teacher(draw(5, 4).bfloat16()).dtype == torch.bfloat16


def test_gradients_reach_what_is_kept_only(mlp):
    FocusedTeacher(mlp, "1", [0, 3], "zero")(draw(5, 4)).sum().backward()
    gradient = mlp[0].weight.grad.abs().sum(1)
    assert gradient[[0, 3]].tolist() == [0, 0]
    assert gradient.sum() > 0


def test_a_focused_teacher_cannot_be_split(mlp):
    with pytest.raises(InputError, match=r"must not contain a focused teacher.*`\.model`"):
        split(FocusedTeacher(mlp, "0", [0], 0), "model.1")


DISTINCT = "must be distinct indices of channels, as from `select`. Got"
BELOW = "must be below the layer's number of channels, 6. Got"


@pytest.mark.parametrize(("layer", "removed", "fill", "text"), [
    ("9", [0], 0, "`layer` {} must name a submodule. Got '9'. Choose from `0`, `1`, `2`."),
    ("1", [0, 0], 0, "`removed` {} " + DISTINCT + " [0, 0]."),
    ("1", [0.5], 0, "`removed` {} " + DISTINCT + " [0.5]."),
    ("1", [True, False], 0, "`removed` {} " + DISTINCT + " [True, False]."),
    ("1", [2, -1], 0, "`removed` {} must be 0 or more. Got [2, -1]."),
    ("1", [2, 6], 0, "`removed` {} " + BELOW + " 6."),
    ("1", [7], torch.zeros(6), "`removed` {} " + BELOW + " 7."),
    ("1", [2], torch.zeros(5),
     "`fill` {} must contain a value for each of 1 removed channels or of all 6 of `1`. Got 5 values."),
    ("1", [2], float("nan"),
     "`fill` {} must be finite. Got NaN or infinity: check the training split for such values."),
    ("1", [2], "mean", "`fill` must be one of `zero`. Got 'mean' instead."),
])  # fmt: skip
def test_errors(mlp, layer, removed, fill, text):
    with pytest.raises(InputError) as error:
        FocusedTeacher(mlp, layer, removed, fill)(draw(5, 4))
    assert str(error.value) == text.format("of `FocusedTeacher`")


def test_layers_that_are_not_called_once_or_return_no_tensor():
    relu = nn.ReLU()
    with pytest.raises(InputError, match=r"called once in a forward pass. `0` is called 2 times"):
        FocusedTeacher(nn.Sequential(relu, nn.Linear(4, 4), relu), "0", [0], 0)(draw(5, 4))

    class Named(nn.Module):
        def forward(self, x):
            return {"h": x.tolist()}

    with pytest.raises(InputError, match=r"`FocusedTeacher` must return a tensor\. Got dict: name another"):
        FocusedTeacher(nn.Sequential(nn.Linear(4, 4), Named()), "1", [0], 0)(draw(5, 4))
    with pytest.raises(
        InputError, match=r"`channel_dim` of `FocusedTeacher` must be .* Got 3 for shape \(5, 4\)"
    ):
        FocusedTeacher(nn.Sequential(nn.Linear(4, 4)), "0", [0], 0, channel_dim=3)(draw(5, 4))


@pytest.mark.parametrize("per_position", [False, True])
def test_round_trip(tmp_path, per_position):
    model, x = Spatial().eval(), draw(7, 2, 4, 4)
    trunk, _ = split(model, "body")
    teacher = FocusedTeacher(model, "body", [1, 4], channel_means(x, trunk, per_position=per_position))
    assert teacher.save(tmp_path / "t") == tmp_path / "t"
    assert sorted(path.name for path in (tmp_path / "t").iterdir()) == ["focus.json", "model.safetensors"]
    loaded = FocusedTeacher.load(tmp_path / "t", Spatial().eval())
    assert torch.equal(loaded(x), teacher(x))
    assert torch.equal(loaded.fill, teacher.fill)
    plain = Spatial()
    plain.load_state_dict(safetensors.torch.load_file(tmp_path / "t" / "model.safetensors"))
    assert torch.equal(plain.eval()(x), model(x))


def test_round_trip_of_tied_weights_double_fill_and_last_dimension(tmp_path):
    def make():
        model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
        model[1].weight = model[0].weight
        return model

    teacher = FocusedTeacher(
        make(), "0", [3, 1], torch.tensor([1 / 3, 2 / 3], dtype=torch.float64), channel_dim=-1
    )
    teacher.save(tmp_path)
    loaded = FocusedTeacher.load(tmp_path, make())
    assert torch.equal(loaded(draw(2, 3, 4)), teacher(draw(2, 3, 4)))
    assert loaded.fill.tolist() == [2 / 3, 1 / 3]
    assert loaded.model[0].weight is loaded.model[1].weight


def test_nothing_removed_round_trip(tmp_path, mlp):
    FocusedTeacher(mlp, "1", [], "zero").save(tmp_path)
    assert torch.equal(FocusedTeacher.load(tmp_path, copy.deepcopy(mlp))(draw(5, 4)), mlp(draw(5, 4)))


def test_load_says_what_does_not_fit_and_leaves_the_model(tmp_path, mlp):
    FocusedTeacher(mlp, "1", [0], "zero").save(tmp_path)
    wide = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5))
    before = copy.deepcopy(wide.state_dict())
    with pytest.raises(InputError) as error:
        FocusedTeacher.load(tmp_path, wide)
    assert str(error.value) == (
        "`2.weight` has shape (3, 6) in `model.safetensors` and (5, 6) in `model`: "
        "pass one of the architecture that was saved."
    )
    assert all(torch.equal(value, before[name]) for name, value in wide.state_dict().items())
    with pytest.raises(
        InputError, match=r"`model.safetensors` lacks `3\.bias`, `3\.weight`, compared with `model`"
    ):
        FocusedTeacher.load(tmp_path, nn.Sequential(*mlp, nn.Linear(3, 3)))
    with pytest.raises(InputError, match=r"`model.safetensors` also has `2\.bias`, `2\.weight`"):
        FocusedTeacher.load(tmp_path, mlp[:2])


def test_load_of_absent_damaged_newer_and_mixed_files(tmp_path, mlp):
    with pytest.raises(InputError, match=r"focus\.json` does not exist\. Name a folder"):
        FocusedTeacher.load(tmp_path, mlp)
    FocusedTeacher(mlp, "1", [0], "zero").save(tmp_path)
    description = json.loads((tmp_path / "focus.json").read_text())
    (tmp_path / "focus.json").write_text(json.dumps(description | {"removed": [1]}))
    with pytest.raises(InputError, match=r"focus\.json` is damaged: its checksum does not fit"):
        FocusedTeacher.load(tmp_path, mlp)
    del description["checksum"]  # as somebody's own
    for changes, text in (
        ({"schema_version": 2}, "has schema version 2; this mfh reads 1"),
        ({"shapes": {}}, "two different teachers"),
        ({"fill": "x"}, "cannot be read as a focused teacher"),
        ({"removed": [7]}, None),
    ):
        (tmp_path / "focus.json").write_text(json.dumps(description | changes))
        with pytest.raises(InputError, match=text or "below the layer's number of channels"):
            FocusedTeacher.load(tmp_path, mlp)(draw(5, 4))
    (tmp_path / "focus.json").write_text(json.dumps(description))
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"model\.safetensors` is damaged, or of another run"):
        FocusedTeacher.load(tmp_path, mlp)
    with pytest.raises(InputError, match="cannot be written"):
        FocusedTeacher(mlp, "1", [0], "zero").save(tmp_path / "focus.json")
