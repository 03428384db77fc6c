"""Datasets of PyTorch as paired data: every form of a sample, kept or decoded again, and what is refused."""

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset, TensorDataset

from mfh import InputError, PairedDataset


class Pairs(Dataset):
    def __init__(self, sample, count=6):
        self.sample, self.count = sample, count

    def __len__(self):
        return self.count

    def __getitem__(self, row):
        return self.sample(row)


def audio(row):
    return torch.full((3,), row / 2)


def image(row):
    return np.full((2, 4), row, dtype=np.uint8)


def labelled(**values):
    made = {"a": audio, "b": image, "label": lambda i: i % 2} | values
    return Pairs(lambda i: {name: make(i) for name, make in made.items()})


BOTH = ["audio", "image"]
FORMS = {
    "dict": (
        lambda i: {"audio": audio(i), "image": image(i), "label": f"class {i % 2}", "who": i // 2},
        {"group": "who"},
    ),
    "tuple": (
        lambda i: (audio(i), image(i), torch.tensor(i % 2), i // 2),
        {"modalities": BOTH, "group": "group"},
    ),
    "pair": (lambda i: ({"audio": audio(i), "image": image(i)}, i % 2, i // 2), {"group": "group"}),
    "given": (
        lambda i: (audio(i), image(i)),
        {"modalities": BOTH, "label": [0, 1] * 3, "group": [0, 0, 1, 1, 2, 2]},
    ),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("in_memory", [True, False])
def test_every_form_of_sample_holds_the_same(form, in_memory):
    sample, options = FORMS[form]
    data = PairedDataset.from_torch(Pairs(sample), in_memory=in_memory, **options)
    assert list(data.modalities) == ["audio", "image"]
    assert data.label.tolist() == [0, 1] * 3
    assert data.group.tolist() == [0, 0, 1, 1, 2, 2]
    rows = torch.tensor([4, 1])
    assert torch.equal(data.inputs("audio", rows), torch.stack([audio(4), audio(1)]))
    pictures = data.inputs("image", rows)
    assert pictures.dtype == torch.float32
    assert pictures[:, 0, 0].tolist() == [4.0, 1.0]


def test_fingerprints_tell_values_apart():
    def make(shift, in_memory):
        dataset = Pairs(lambda i: {"a": torch.full((3,), i + shift), "b": torch.zeros(1), "label": i % 2})
        return PairedDataset.from_torch(dataset, in_memory=in_memory).fingerprint

    for in_memory in (True, False):
        assert make(0.0, in_memory) == make(0.0, in_memory) != make(1.0, in_memory)


def test_token_ids_stay_integers():
    dataset = TensorDataset(torch.arange(8).view(4, 2), torch.zeros(4, 3), torch.tensor([0, 1, 0, 1]))
    data = PairedDataset.from_torch(dataset, modalities=["text", "image"])
    assert data.inputs("text", slice(None)).dtype == torch.int64
    assert data.inputs("image", slice(None)).dtype == torch.float32


@pytest.mark.parametrize(
    ("dataset", "options", "text"),
    [
        (iter([]), {}, "must be map-style.*Got list_iterator: collect"),
        ([], {}, "must have one sample or more"),
        (Pairs(audio), {}, "must return samples that are dicts.*Got Tensor"),
        (Pairs(lambda i: (audio(i), image(i), 0)), {}, "`modalities` of `from_torch` must be given"),
        (Pairs(lambda i: (audio(i), image(i), 0)), {"modalities": ["audio"]}, "Sample 0 has 3 values"),
        (labelled(y=lambda i: 0), {"label": "class"}, "has no `class`. It has `a`, `b`, `label`, `y`"),
        (labelled(a=lambda i: torch.zeros(i + 1)), {}, r"Sample 1 has \(2,\), sample 0 has \(1,\)"),
        (labelled(a=lambda i: torch.rand(3)), {}, "`a` of sample 0 differs when it is read again"),
        (labelled(a=lambda i: object()), {"modalities": ["a", "b"]}, "Got object in sample 0"),
        (labelled(a=lambda i: audio(i) / (i != 3)), {}, "`a` must be finite. Sample 3"),
    ],
)
def test_what_is_refused(dataset, options, text):
    with pytest.raises(InputError, match=text):
        PairedDataset.from_torch(dataset, **options)
