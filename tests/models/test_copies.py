"""Copies of networks share nothing with the original, also where `copy.deepcopy` alone fails."""

import threading

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

import mfh
from mfh import InputError
from mfh._saliency import saliency
from mfh._saliency.plain import require_sized
from mfh.models.copies import copied


def seeded():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))


def changed(wrap):
    network = seeded()
    network[0] = wrap(network[0])
    return network


class Keeps(nn.Module):
    """Keeps its last output."""

    def __init__(self):
        super().__init__()
        self.layer, self.kept = nn.Linear(4, 3), {}

    def forward(self, x):
        self.kept["last"] = [self.layer(x)]
        return self.kept["last"][0]


NETWORKS = {
    "weight_norm": lambda: changed(lambda layer: nn.utils.weight_norm(layer)),
    "spectral_norm": lambda: changed(lambda layer: nn.utils.spectral_norm(layer)),
    "parametrized weight_norm": lambda: changed(parametrizations.weight_norm),
    "orthogonal": lambda: changed(parametrizations.orthogonal),
    "pruned": lambda: changed(lambda layer: prune.random_unstructured(layer, "weight", amount=0.3)),
    "keeps its output": Keeps,
}
pytestmark = [
    pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated"),
    pytest.mark.filterwarnings("ignore:There is a performance drop"),
]


@pytest.mark.parametrize("name", NETWORKS)
def test_a_copy_gives_the_same_and_is_trained_apart(name):
    network = NETWORKS[name]()
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(1))
    network(x)
    network.eval()
    copy = copied(network)
    before = network(x)
    torch.testing.assert_close(copy(x), before, rtol=0, atol=0)
    optimizer = torch.optim.SGD(copy.parameters(), lr=1.0)
    copy(x).square().sum().backward()
    optimizer.step()
    assert not torch.allclose(copy(x), before)
    torch.testing.assert_close(network(x), before, rtol=0, atol=0)
    assert all(parameter.grad is None for parameter in network.parameters())


def test_what_cannot_be_copied_is_refused_in_one_line():
    network = seeded()
    network.lock = threading.Lock()
    with pytest.raises(InputError, match="It cannot copy Sequential: cannot pickle") as refused:
        copied(network)
    assert "\n" not in str(refused.value)


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    label = np.arange(60) % 3
    arrays = {"a": rng.normal(size=(60, 4)), "b": rng.normal(size=(60, 4))}
    return mfh.PairedDataset.from_arrays(arrays, label=label)


@pytest.mark.parametrize("name", ["weight_norm", "parametrized weight_norm", "keeps its output"])
def test_distill_trains_such_a_student(data, name):
    network = NETWORKS[name]()
    network(torch.zeros(2, 4))
    config = mfh.DistillConfig(epochs=1, device="cpu")
    result = mfh.distill(seeded(), network, data, config)
    assert result.student is not network
    assert 0 <= result.test <= 100


def test_a_study_of_students_with_weight_norm(data):
    config = mfh.StudyConfig(seeds=1, epochs=1, ratio=(0.5,), random_draws=1, device="cpu", retries=0)
    result = mfh.study(data, NETWORKS["weight_norm"], NETWORKS["weight_norm"], config=config)
    assert {"no-kd", "joint"} <= {record.arm for record in result.records}


def lazy():
    return nn.Sequential(nn.LazyLinear(8), nn.ReLU(), nn.LazyLinear(3))


LAZY = r"must have weights already. Layers `0`, `2` get them from their first batch \(LazyLinear\): run"


@pytest.mark.parametrize("student", [lazy(), lazy])
def test_lazy_networks_are_refused_before_training(data, student):
    config = mfh.DistillConfig(epochs=1, device="cpu")
    with pytest.raises(InputError, match=f"`student` {LAZY}"):
        mfh.distill(seeded(), student, data, config)
    with pytest.raises(InputError, match=f"`teacher` {LAZY}"):
        mfh.distill(lazy(), seeded(), data, config)
    with pytest.raises(InputError, match=f"`student` {LAZY}"):
        mfh.study(data, seeded, lazy, config=mfh.StudyConfig(epochs=1, device="cpu"))
    with pytest.raises(InputError, match=f"`head` {LAZY}"):
        saliency(torch.zeros(5, 4), lazy(), torch.zeros(5, 3), num_permutations=3)


def test_a_lazy_network_that_ran_once_is_taken(data):
    network = lazy()
    network(torch.zeros(2, 4))
    require_sized(network, "student")
    mfh.distill(seeded(), network, data, mfh.DistillConfig(epochs=1, device="cpu"))
