"""Models cut at a layer: equal to the whole, one pass, any batch size, and refused where that cannot be."""

import copy
from collections import OrderedDict

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from mfh import InputError
from mfh._focus.inventory import LayerInfo, layers
from mfh._focus.splitting import split


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Functional(nn.Module):
    """A small CNN whose activations, pooling and flattening are functions."""

    def __init__(self, flatten=lambda x: torch.flatten(x, 1)):
        super().__init__()
        self.conv1 = nn.Conv2d(2, 4, 3, padding=1)
        self.conv2 = nn.Conv2d(4, 6, 3, padding=1)
        self.fc1 = nn.Linear(6 * 2 * 2, 8)
        self.fc2 = nn.Linear(8, 3)
        self.flatten = flatten

    def forward(self, x):
        x = functional.max_pool2d(functional.relu(self.conv1(x)), 2)
        x = functional.max_pool2d(functional.relu(self.conv2(x), inplace=True), 2)
        x = self.flatten(x)
        return self.fc2(functional.relu(self.fc1(x)))


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x):
        out = self.conv2(self.relu(self.norm(self.conv1(x))))
        out += x
        return functional.relu(out)


class Residual(nn.Module):
    """A residual CNN; nested names, in-place operations, global pooling, a dropout function."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(2, 4, 3, padding=1)
        self.stages = nn.Sequential(OrderedDict(one=Block(4), two=nn.Sequential(Block(4), Block(4))))
        self.fc = nn.Linear(4, 3)

    def forward(self, x):
        x = self.stages(self.stem(x))
        x = functional.adaptive_avg_pool2d(x, 1).flatten(1)
        return self.fc(functional.dropout(x, 0.5, training=self.training))


class Branching(nn.Module):
    """Leads to its layer by code that looks at shapes and values, which torch.fx cannot follow."""

    def __init__(self, tail=lambda x, h: h):
        super().__init__()
        self.fc1 = nn.Linear(4, 6)
        self.fc2 = nn.Linear(6, 3)
        self.tail = tail

    def forward(self, x):
        if x.dim() == 1:
            x = x.unsqueeze(0)
        if float(x.abs().max()) < 0:
            raise ValueError
        return self.fc2(self.tail(x, self.fc1(x)))


class Calls(nn.Module):
    """A model of whatever function of itself and x is given."""

    def __init__(self, run, **modules):
        super().__init__()
        self.run = run
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x):
        return self.run(self, x)


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def check(model, layer, x, *, example=None, sizes=(1, 2, 5)):
    """The two parts equal the whole, on several batch sizes, and share its parameters."""
    model.eval()
    trunk, head = split(model, layer, example=example)
    seen = []
    handle = model.get_submodule(layer).register_forward_hook(
        lambda module, args, out: seen.append(out.clone())
    )
    for size in sizes:
        expected = model(x[:size])
        wanted = seen.pop()
        features = trunk(x[:size])
        assert torch.equal(features, wanted)
        seen.clear()
        kept = features.clone()
        assert torch.allclose(head(features), expected, atol=1e-6)
        assert torch.equal(features, kept), "the head writes into its input"
        assert not seen, "the head runs the trunk"
    handle.remove()
    own = {id(p) for p in model.parameters()}
    assert all(id(p) in own for part in (trunk, head) for p in part.parameters())
    return trunk, head


@pytest.mark.parametrize("layer", ["0", "1", "2", "3", "3.0", "3.1", "4"])
def test_sequential(layer):
    model = nn.Sequential(
        nn.Linear(4, 6), nn.ReLU(inplace=True), nn.Dropout(),
        nn.Sequential(nn.Linear(6, 6), nn.Tanh()), nn.Linear(6, 3),
    )  # fmt: skip
    _, head = check(model, layer, draw(5, 4))
    if layer == "2":
        assert [type(m) for m in head] == [nn.Linear, nn.Tanh, nn.Linear]
        assert head[0] is model[3][0]
    if layer in ("3", "3.1"):
        assert head is model[4]
    if layer == "4":
        assert isinstance(head, nn.Identity)


def test_sequential_whose_container_has_a_hook_is_not_sliced():
    model = nn.Sequential(nn.Linear(4, 6), nn.Sequential(nn.Linear(6, 6), nn.ReLU()), nn.Linear(6, 3))
    model[1].register_forward_hook(lambda module, args, out: 2 * out)
    check(model, "1.0", draw(5, 4))
    check(model, "0", draw(5, 4))


def test_subclass_of_sequential_with_its_own_forward():
    class Doubling(nn.Sequential):
        def forward(self, x):
            return 2 * super().forward(x)

    check(Doubling(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)), "1", draw(5, 4))


@pytest.mark.parametrize("layer", ["conv1", "conv2", "fc1", "fc2"])
@pytest.mark.parametrize("example", [None, draw(4, 2, 8, 8)], ids=["blind", "example"])
def test_functional(layer, example):
    _, head = check(Functional(), layer, draw(5, 2, 8, 8), example=example)
    assert layer != "fc2" or isinstance(head, nn.Identity)


@pytest.mark.parametrize(
    "flatten",
    [
        lambda x: x.flatten(1),
        lambda x: x.flatten(start_dim=1),
        lambda x: torch.flatten(x, start_dim=1),
        lambda x: torch.flatten(x, 1),
        lambda x: x.view(x.size(0), -1),
        lambda x: x.view(x.shape[0], -1),
        lambda x: x.reshape(x.size()[0], -1),
        lambda x: torch.reshape(x, (x.size(0), -1)),
        nn.Flatten(),
    ],
)
def test_flattening_before_a_linear_layer_becomes_a_module(flatten):
    try:
        torch.fx.symbolic_trace(flatten)
    except TypeError:
        pytest.skip("this release of torch traces no reshape to a tuple")
    model = Calls(
        lambda self, x: self.fc(flatten(self.conv(x))), conv=nn.Conv2d(2, 4, 3), fc=nn.Linear(4 * 4, 3)
    )
    _, head = check(model, "conv", draw(5, 2, 4, 4))
    assert isinstance(head, nn.Sequential)
    assert [type(m) for m in head] == [nn.Flatten, nn.Linear]
    assert head[1] is model.fc


def test_linear_layer_followed_by_functions():
    model = Calls(
        lambda self, x: functional.log_softmax(self.b(functional.gelu(self.a(self.h(x)))), dim=1),
        h=nn.Linear(4, 6), a=nn.Linear(6, 5), b=nn.Linear(5, 3),
    )  # fmt: skip
    _, head = check(model, "h", draw(5, 4))
    assert isinstance(head, nn.Sequential)
    assert head[0] is model.a


@pytest.mark.parametrize(
    "layer", ["stem", "stages", "stages.one", "stages.two", "stages.two.0", "stages.two.1"]
)
def test_residual_between_its_blocks(layer):
    _, head = check(Residual(), layer, draw(5, 2, 6, 6))
    if layer in ("stages", "stages.two", "stages.two.1"):
        assert [type(m) for m in head] == [nn.AdaptiveAvgPool2d, nn.Flatten, nn.Identity, nn.Linear]


@pytest.mark.parametrize("layer", ["stages.one.conv1", "stages.one.relu", "stages.two.1.conv2"])
def test_residual_inside_a_skip_is_refused_and_says_what_is_needed(layer):
    needed = {
        "stages.one.conv1": "`stem`",
        "stages.one.relu": "`stem`",
        "stages.two.1.conv2": "`stages.two.0`",
    }
    with pytest.raises(
        InputError, match=f"cannot cut at `{layer}`.*the output of {needed[layer]}.*of your own"
    ):
        split(Residual(), layer)


def test_what_follows_needs_the_input():
    model = Calls(lambda self, x: self.fc(self.h(x)) + x, h=nn.Linear(3, 4), fc=nn.Linear(4, 3))
    with pytest.raises(InputError, match="also needs the model's input `x`"):
        split(model, "h")


def test_what_follows_needs_an_earlier_function():
    model = Calls(lambda self, x: self.h(x) + torch.tanh(x), h=nn.Linear(3, 3))
    with pytest.raises(InputError, match="also needs the result of `tanh`"):
        split(model, "h")


def test_a_function_of_parameters_alone_moves_into_the_head():
    def run(self, x):
        scale = self.scale.exp()
        return self.fc(self.h(x) * scale)

    model = Calls(run, h=nn.Linear(4, 4), fc=nn.Linear(4, 3))
    model.scale = nn.Parameter(draw(4))
    _, head = check(model, "h", draw(5, 4))
    with torch.no_grad():
        model.scale.add_(1)
    check(model, "h", draw(5, 4))
    head(draw(5, 4)).sum().backward()
    assert model.scale.grad is not None


def test_constants_in_the_code_leave_the_model_as_it_was():
    model = Calls(lambda self, x: self.h(x) * torch.tensor([1.0, 2.0, 3.0]), h=nn.Linear(4, 3))
    before = set(vars(model)) | set(model.state_dict())
    check(model, "h", draw(5, 4))
    assert set(vars(model)) | set(model.state_dict()) == before


def test_buffers_and_parameters_follow_the_model():
    model = Calls(lambda self, x: (self.h(x) - self.mean) * torch.tensor(2.0), h=nn.Linear(4, 3))
    model.register_buffer("mean", draw(3))
    trunk, head = check(model, "h", draw(5, 4))
    model.double()
    x = draw(5, 4).double()
    assert head(trunk(x)).dtype == torch.float64
    assert torch.equal(head(trunk(x)), model(x))


def test_gradients_pass():
    model = Functional()
    trunk, head = split(model, "conv2")
    x = draw(3, 2, 8, 8)
    features = trunk(x).detach().requires_grad_()
    head(features).sum().backward()
    assert features.grad is not None
    assert model.fc1.weight.grad is not None
    assert model.conv1.weight.grad is None


def test_parts_survive_deepcopy():
    model = Residual().eval()
    x = draw(3, 2, 6, 6)
    trunk, head = copy.deepcopy(split(model, "stages.one"))
    assert torch.allclose(head(trunk(x)), model(x), atol=1e-6)


def test_modes_and_hooks_are_restored():
    model = Residual()
    model.stages.eval()
    modes = [m.training for m in model.modules()]
    trunk, head = split(model, "stages.one", example=draw(4, 2, 6, 6))
    assert trunk.training
    assert head.training
    layers(model, draw(4, 2, 6, 6))
    assert [m.training for m in model.modules()] == modes
    assert not any(m._forward_hooks for m in model.modules())
    assert model.stages.one.norm.num_batches_tracked == 0


def test_layer_called_twice_is_refused():
    model = Calls(lambda self, x: self.fc(self.act(self.h(self.act(x)))),
                  act=nn.ReLU(), h=nn.Linear(4, 4), fc=nn.Linear(4, 3))  # fmt: skip
    with pytest.raises(InputError, match="`act`: a forward pass calls it 2 times instead of once"):
        split(model, "act")
    with pytest.raises(InputError, match="2 times"):
        split(model, "act", example=draw(3, 4))
    relu = nn.ReLU()
    with pytest.raises(InputError, match="`1`: a forward pass calls it 2 times"):
        split(nn.Sequential(nn.Linear(4, 4), relu, nn.Linear(4, 4), relu), "1")


def test_layer_never_called_is_refused():
    model = Calls(lambda self, x: self.fc(x), fc=nn.Linear(4, 3), idle=nn.Linear(4, 3))
    with pytest.raises(InputError, match="calls it 0 times"):
        split(model, "idle")
    with pytest.raises(InputError, match="`idle` is not"):
        split(model, "idle", example=draw(3, 4))


def test_wrong_names():
    with pytest.raises(InputError) as error:
        split(Functional(), "conv9")
    assert str(error.value) == (
        "`layer` of `split` must name a submodule. Got 'conv9'. Choose from `conv1`, `conv2`, `fc1`, `fc2`."
    )
    with pytest.raises(InputError, match=r"`conv1 \(4, 4, 8, 8\)`, .*`fc2 \(4, 3\)`"):
        split(Functional(), "conv9", example=draw(4, 2, 8, 8))
    with pytest.raises(InputError, match="Got ''"):
        split(Functional(), "")


def test_untraceable_code_before_the_layer_needs_an_example():
    model = Branching()
    with pytest.raises(InputError, match=r"`fc1`: the code around it cannot be traced .*Give an `example`"):
        split(model, "fc1")
    _, head = check(model, "fc1", draw(5, 4), example=draw(4, 4))
    assert head is model.fc2
    check(model, "fc1", draw(5, 4), example=draw(1, 4))


def test_untraceable_code_after_the_layer():
    model = Branching(lambda x, h: h if h.sum() > 0 else -h)
    for example in (None, draw(4, 4)):
        with pytest.raises(InputError, match="cannot be traced"):
            split(model, "fc1", example=example)


def test_untraceable_model_whose_head_needs_more():
    model = Branching(lambda x, h: h + x.mean())
    with pytest.raises(InputError, match=r"also needs a tensor of shape \(\)"):
        split(model, "fc1", example=draw(4, 4))


def test_numbers_from_the_example_are_refused():
    with pytest.raises(InputError, match="works only for the example's number of samples"):
        split(Branching(lambda x, h: h.view(len(x), 6)), "fc1", example=draw(4, 4))
    with pytest.raises(InputError, match="differ from the model on `example`"):
        split(Branching(lambda x, h: h * float(x.sum())), "fc1", example=draw(4, 4))


def test_code_that_symbols_lead_astray_is_caught_by_the_example():
    def run(self, x):
        h = self.h(x)
        return self.fc(-h if isinstance(h, Tensor) else h)

    model = Calls(run, h=nn.Linear(4, 6), fc=nn.Linear(6, 3))
    with pytest.raises(InputError, match="differ from the model"):
        split(model, "h", example=draw(4, 4))


def test_optional_inputs():
    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.h, self.fc = nn.Linear(4, 6), nn.Linear(6, 3)

        def forward(self, x, mask=None, *, scale=1.0):
            x = x if mask is None else x * mask
            return self.fc(self.h(x)) * scale

    model, x, mask = Masked().eval(), draw(5, 4), torch.ones(4)
    for example in (None, (x,), {"x": x}, (x, mask), {"x": x, "mask": mask}):
        trunk, head = split(model, "h", example=example)
        assert torch.allclose(head(trunk(x)), model(x))
        assert torch.allclose(head(trunk(x, mask=0.5 * mask)), model(x, 0.5 * mask))


def test_layer_that_returns_a_tuple():
    model = Calls(
        lambda self, x: self.fc(self.rnn(x)[0]), rnn=nn.GRU(4, 6, batch_first=True), fc=nn.Linear(6, 3)
    )
    trunk, _ = split(model, "rnn")
    with pytest.raises(InputError, match="`rnn` returns tuple: give an `example` to use its first tensor"):
        trunk(draw(2, 5, 4))
    trunk, head = split(model, "rnn", example=draw(2, 5, 4))
    assert head is model.fc
    x = draw(3, 5, 4)
    assert torch.equal(trunk(x), model.rnn(x)[0])
    assert torch.equal(head(trunk(x)), model(x))


def test_layer_inside_a_module_of_torch():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    model = Calls(
        lambda self, x: self.fc(self.encoder(x).mean(1)),
        encoder=nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), fc=nn.Linear(8, 3),
    )  # fmt: skip
    check(model, "encoder.layers.0", draw(5, 6, 8), example=draw(4, 6, 8))
    check(model, "encoder.layers.1", draw(5, 6, 8), example=draw(4, 6, 8))


def test_model_that_returns_a_dict():
    model = Calls(
        lambda self, x: {"logits": self.fc(self.h(x))}, h=nn.Linear(4, 6), fc=nn.Linear(6, 3)
    ).eval()
    trunk, head = split(model, "h", example=draw(4, 4))
    assert torch.equal(head(trunk(draw(5, 4)))["logits"], model(draw(5, 4))["logits"])


def test_example_that_does_not_fit():
    with pytest.raises(InputError, match=r"`example` must be an input that `model` accepts\. RuntimeError"):
        layers(Functional(), draw(4, 7, 8, 8))


def test_layers_lists_shapes_channels_and_calls():
    model = Calls(
        lambda self, x: self.fc(self.act(self.block(self.act(x)))),
        act=nn.ReLU(), block=nn.Sequential(nn.Linear(4, 4)), fc=nn.Linear(4, 3), idle=nn.Linear(2, 2),
    )  # fmt: skip
    assert layers(model, draw(7, 5, 4)) == [
        LayerInfo("act", "ReLU", (7, 5, 4), 4, 2, -1),
        LayerInfo("block", "Sequential", (7, 5, 4), 4, 1, -1),
        LayerInfo("block.0", "Linear", (7, 5, 4), 4, 1, -1),
        LayerInfo("fc", "Linear", (7, 5, 3), 3, 1, -1),
    ]
    assert layers(model, draw(7, 5, 4), channel_dim=1)[-1].channels == 5


def test_layers_of_tuples_and_scalars():
    model = Calls(
        lambda self, x: self.loss(self.rnn(x)[0]),
        rnn=nn.GRU(4, 6, batch_first=True),
        loss=Calls(lambda _, x: x.sum()),
    )
    rnn, loss = layers(model, {"x": draw(2, 5, 4)})
    assert (rnn.shape, rnn.channels) == ((2, 5, 6), 6)
    assert (loss.shape, loss.channels) == ((), None)


def squared(module):
    """The module with a `forward` of the object's own."""
    plain = module.forward
    module.forward = lambda x: plain(x).square()
    return module


class Squared(nn.Sequential):
    def forward(self, x):
        return super().forward(x).square()


class Reversed(nn.Sequential):
    def __iter__(self):
        return reversed(self._modules.values())


def with_hook(module):
    module.register_forward_hook(lambda module, inputs, output: output.square())
    return module


@pytest.mark.parametrize(
    "container",
    [
        lambda *steps: Squared(*steps),
        lambda *steps: Reversed(*steps),
        lambda *steps: squared(nn.Sequential(*steps)),
        lambda *steps: with_hook(nn.Sequential(*steps)),
    ],
)
@pytest.mark.parametrize("place", ["whole", "cut", "head"])
def test_containers_with_code_of_their_own_are_kept(container, place):
    linear = [nn.Linear(4, 4) for _ in range(3)]
    model = {
        "whole": lambda: container(*linear),
        "cut": lambda: nn.Sequential(container(*linear), nn.Linear(4, 2)),
        "head": lambda: nn.Sequential(nn.Linear(4, 4), nn.ReLU(), container(*linear), nn.Linear(4, 2)),
    }[place]()
    x = draw(5, 4)
    trunk, head = split(model, {"whole": "1", "cut": "0.1", "head": "1"}[place], example=x)
    torch.testing.assert_close(head(trunk(x)), model(x))


def test_backward_hooks_inside_the_head_are_kept():
    seen = []
    inner = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    inner.register_full_backward_hook(lambda module, grad_input, grad_output: seen.append(1))
    trunk, head = split(nn.Sequential(nn.Linear(4, 4), inner, nn.Linear(4, 2)), "0")
    head(trunk(draw(5, 4))).sum().backward()
    assert seen


def test_a_hook_that_writes_in_place_leaves_the_input_as_it_is():
    def double_in_place(module, inputs):
        inputs[0].mul_(2)

    model = nn.Sequential(nn.ReLU(), nn.Linear(4, 2))
    model[1].register_forward_pre_hook(double_in_place)
    features = draw(5, 4)
    kept = features.clone()
    _, head = split(model, "0")
    with torch.no_grad():
        head(features)
    assert torch.equal(features, kept)
