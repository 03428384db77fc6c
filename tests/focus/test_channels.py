"""Which dimension is channels, and layers of every kind through split, saliency and the focused teacher."""

import operator
from collections import OrderedDict
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import mfh
from mfh import InputError
from mfh._focus import FocusedTeacher, channel_split, layers, split


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@dataclass
class Answer:
    logits: Tensor
    hidden: Tensor


@dataclass
class Encoded:
    mask: None
    last_hidden_state: Tensor


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(8), nn.LayerNorm(8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(8, 12), nn.GELU(), nn.Linear(12, 8))

    def forward(self, x):
        h = self.norm1(x)
        x = x + self.attention(h, h, h, need_weights=False)[0]
        return x + self.mlp(self.norm2(x))


class Tokens(nn.Module):
    """A transformer whose encoder returns an object, as the model does."""

    def __init__(self, answer=lambda logits, h: Answer(logits, h), pool=lambda h: h.mean(1)):
        super().__init__()
        self.embedding = nn.Embedding(20, 8)
        self.drop = nn.Dropout(0.1)
        self.blocks = nn.Sequential(Block(), Block())
        self.encoder = Wrapped(self.blocks)
        self.fc = nn.Linear(8, 3)
        self.answer, self.pool = answer, pool

    def forward(self, ids):
        out = self.encoder(self.drop(self.embedding(ids)))
        hidden = out.last_hidden_state
        return self.answer(self.fc(self.pool(hidden)), hidden)


class Wrapped(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return Encoded(None, self.inner(x))


class Conv(nn.Module):
    """Convolutions with functions between."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(2, 5, 3, padding=1), nn.Conv2d(5, 5, 3, padding=1)
        self.skip = nn.Identity()
        self.fc = nn.Linear(5, 3)

    def forward(self, x):
        h = self.skip(functional.relu(self.conv1(x)))
        h = h + self.conv2(h)
        return self.fc(h.mean((2, 3)))


IDS = torch.arange(4 * 6).view(4, 6) % 20


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def dims(model, example):
    return {info.name: (info.channel_dim, info.channels) for info in layers(model, example)}


def test_token_models_have_channels_last():
    found = dims(Tokens(), IDS)
    three = ("embedding", "drop", "encoder", "blocks", "blocks.0", "blocks.1", "blocks.0.attention")
    assert {name: found[name] for name in three} == dict.fromkeys(three, (-1, 8))
    assert found["blocks.0.mlp.1"] == (-1, 12)
    assert found["fc"] == (1, 3)


def test_convolutions_have_channels_second():
    found = dims(Conv(), draw(4, 2, 6, 6))
    assert {found[name] for name in ("conv1", "conv2", "skip")} == {(1, 5)}
    norms = nn.Sequential(nn.Conv1d(2, 4, 3), nn.BatchNorm1d(4), nn.ReLU(), nn.MaxPool1d(2), nn.Flatten())
    assert {d for d, _ in dims(norms, draw(3, 2, 9)).values()} == {1}


def test_channels_last_pictures_of_a_vision_transformer():
    torchvision = pytest.importorskip("torchvision")
    swin = torchvision.models.SwinTransformer([4, 4], 8, [1, 1], [2, 2], [4, 4], num_classes=3)
    found = dims(swin, draw(2, 3, 32, 32))
    assert found["features.0.0"] == (1, 8)
    assert found["features.1"] == (-1, 8)
    assert found["features.3"] == (-1, 16)
    resnet = dims(torchvision.models.resnet18(num_classes=3), draw(2, 3, 32, 32))
    assert {dim for dim, _ in resnet.values()} == {1}
    assert resnet["layer4.1"] == (1, 512)


def test_what_nothing_tells_has_to_be_given():
    class Opaque(nn.Module):
        def forward(self, x):
            return torch.einsum("nld,nmd->nlm", x, x)

    model = nn.Sequential(OrderedDict(opaque=Opaque(), flat=nn.Flatten(), fc=nn.Linear(25, 3)))
    assert dims(model, draw(4, 5, 2))["opaque"] == (None, None)
    text = r"`channel_dim` must be given for `opaque`: .* \(4, 5, 5\).*-1 for the last"
    with pytest.raises(InputError, match=text):
        channel_split(model, "opaque", draw(4, 5, 2))
    with pytest.raises(InputError, match=text):
        FocusedTeacher(model, "opaque", [0], "zero")(draw(4, 5, 2))
    teacher = FocusedTeacher(model, "opaque", [0], "zero", channel_dim=-1)
    assert not torch.equal(teacher(draw(4, 5, 2)), model(draw(4, 5, 2)))
    both = nn.Sequential(nn.Conv1d(5, 5, 1), nn.Linear(4, 4))  # one reads dimension 1, the other the last
    assert dims(both, draw(2, 5, 4))["0"] == (None, None)


@pytest.mark.parametrize("layer", ["drop", "blocks.0", "encoder", "blocks.0.norm1"])
def test_focused_tokens_lose_their_last_dimension(layer):
    model = Tokens().eval()
    teacher = FocusedTeacher(model, layer, [1, 4], torch.tensor([0.5, -0.5]))
    seen = []
    hook = model.get_submodule(layer).register_forward_hook(lambda m, a, out: seen.append(out))
    teacher(IDS)  # finds the dimension
    seen.clear()

    def replaced(module, args, out):
        tensor = out if isinstance(out, Tensor) else out.last_hidden_state
        changed = tensor.clone()
        changed[..., 1], changed[..., 4] = 0.5, -0.5
        return changed if isinstance(out, Tensor) else Encoded(None, changed)

    hook.remove()
    by_hand = model.get_submodule(layer).register_forward_hook(replaced)
    expected = model(IDS).logits
    by_hand.remove()
    assert torch.equal(teacher(IDS).logits, expected)
    assert teacher.channel_dim == -1


def test_split_at_an_object_and_logits_of_an_object():
    for answer in (
        lambda logits, h: Answer(logits, h),
        lambda logits, h: SimpleNamespace(logits=logits, other=h),
        lambda logits, h: {"logits": logits},
    ):
        model = Tokens(answer).eval()
        trunk, head = split(model, "encoder", example=IDS)
        x = IDS[:3] + 1
        assert torch.equal(trunk(x), model.encoder(model.embedding(x)).last_hidden_state)
        found, expected = head(trunk(x)), model(x)
        pick = operator.itemgetter("logits") if isinstance(expected, dict) else operator.attrgetter("logits")
        assert torch.allclose(found if isinstance(found, Tensor) else pick(found), pick(expected))


def test_more_of_an_object_than_its_tensor_is_refused():
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.fc = nn.LSTM(4, 6, batch_first=True), nn.Linear(6, 3)

        def forward(self, x):
            out, (state, _) = self.rnn(x)
            return self.fc(out.mean(1) + state[0])

    with pytest.raises(InputError, match="cannot cut at `rnn`: the code after it needs more of its tuple"):
        split(Both(), "rnn", example=draw(2, 5, 4))


def test_saliency_of_tokens_is_that_of_the_pooled_channels():
    model = Tokens(lambda logits, _: logits).eval()
    trunk, head = channel_split(model, "encoder", IDS)
    student = draw(4, 3)
    with torch.no_grad():
        features = trunk(IDS)
        assert features.shape == (4, 8, 6)
        assert torch.allclose(head(features), model(IDS), atol=1e-6)
        exact = mfh.saliency(features, head, student, warn=False)
        pooled = mfh.saliency(features.mean(2), model.fc, student, warn=False)
    np.testing.assert_allclose(exact.increase, pooled.increase, rtol=1e-5, atol=1e-7)


def test_saliency_takes_channels_anywhere():
    features, student = draw(40, 5, 6), draw(40, 3)
    head = nn.Sequential(nn.Flatten(), nn.Linear(30, 3))
    drawn = {"num_permutations": 3, "warn": False}
    last = mfh.saliency(features, head, student, channel_dim=-1, **drawn)
    moved = nn.Sequential(Back(), head)
    second = mfh.saliency(features.movedim(-1, 1), moved, student, **drawn)
    assert last.num_channels == 6
    np.testing.assert_array_equal(last.increase, second.increase)


class Back(nn.Module):
    def forward(self, x):
        return x.movedim(1, -1)


def test_compiled_models_work_as_what_they_were_made_of():
    model = Conv().eval()
    x = draw(4, 2, 6, 6)
    whole = torch.compile(model, backend="eager")
    assert layers(whole, x) == layers(model, x)
    trunk, head = split(whole, "conv1", example=x)
    assert torch.allclose(head(trunk(x)), model(x), atol=1e-6)
    plain = FocusedTeacher(model, "conv1", [0, 3], "zero")(x)
    assert torch.equal(FocusedTeacher(whole, "conv1", [0, 3], "zero")(x), plain)
    model.compile(backend="eager")  # in place: compiled code would not run a hook that is added later
    model(x)
    assert torch.equal(FocusedTeacher(model, "conv1", [0, 3], "zero")(x), plain)


def test_a_part_that_is_compiled():
    part = Conv().eval()
    x = draw(4, 2, 6, 6)
    model = nn.Sequential(OrderedDict(part=torch.compile(part, backend="eager"), last=nn.Linear(3, 3)))
    model(x)
    names = [info.name for info in layers(model, x)]
    assert "part._orig_mod.conv1" in names
    expected = model.last(FocusedTeacher(part, "conv1", [1], "zero")(x))
    assert torch.equal(FocusedTeacher(model, "part._orig_mod.conv1", [1], "zero")(x), expected)


def test_a_study_of_a_teacher_of_tokens():
    rng = np.random.default_rng(0)
    label = np.arange(90) % 3
    tokens = (rng.integers(20, size=(90, 6)) + 7 * label[:, None]) % 20
    data = mfh.PairedDataset.from_arrays(
        {"text": tokens, "image": np.eye(3)[label] + rng.normal(size=(90, 3))},
        label=label, transforms={"text": Tensor.long},
    )  # fmt: skip
    config = mfh.StudyConfig(
        resampling="splits",
        teacher="text", student="image", seeds=1, epochs=1, ratio=(0.5,), random_draws=1, smoothing=(0.1,),
        layer="encoder",
    )  # fmt: skip
    result = mfh.study(data, Tokens, lambda: nn.Linear(3, 3), config=config)
    assert result.saliency["num_channels"] == 8


def test_outputs_without_samples_first_are_refused():
    class TimeFirst(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.fc = nn.GRU(4, 6), nn.Linear(6, 2)

        def forward(self, x):
            return self.fc(self.rnn(x.movedim(1, 0))[0][-1])

    data = mfh.PairedDataset.from_arrays(
        {"a": np.zeros((30, 5, 4)), "b": np.zeros((30, 2))}, label=np.arange(30) % 2
    )
    config = mfh.StudyConfig(
        resampling="splits", teacher="a", student="b", seeds=1, epochs=1, ratio=(0.5,), layer="rnn"
    )
    with pytest.raises(InputError, match=r"samples as the first dimension.*batch_first=True"):
        mfh.study(data, TimeFirst, lambda: nn.Linear(2, 2), config=config)


def test_a_head_that_is_a_container_with_code_of_its_own_is_kept_whole():
    class Centred(nn.Sequential):
        def forward(self, x):
            return super().forward(x) - 1

    model = nn.Sequential(nn.Linear(4, 6), Centred(nn.LayerNorm(6), nn.Flatten(), nn.Linear(18, 2)))
    x = torch.randn(5, 3, 4, generator=torch.Generator().manual_seed(0))
    trunk, head = channel_split(model, "0", x)
    assert trunk(x).shape == (5, 6, 3)
    torch.testing.assert_close(head(trunk(x)), model(x))


def test_subclasses_with_code_of_their_own_do_not_vote_by_their_class():
    class Turned(nn.GRU):
        def forward(self, x):
            return super().forward(x)[0].movedim(2, 1)

    torch.manual_seed(0)
    example = torch.zeros(2, 7, 4)
    assert layers(nn.Sequential(nn.GRU(4, 3, batch_first=True)), example)[0].channel_dim == -1
    assert layers(nn.Sequential(Turned(4, 3, batch_first=True)), example)[0].channel_dim is None
