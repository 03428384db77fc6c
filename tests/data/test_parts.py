"""Names of several modalities: exact names win, every other reading must be the only one."""

import numpy as np
import pytest

from mfh import InputError, PairedDataset
from mfh.data.parts import split_name


@pytest.mark.parametrize(
    ("name", "known", "parts"),
    [
        ("a", "a b", ["a"]),
        ("a+b", "a b", ["a", "b"]),
        ("a + b", "a b", ["a", "b"]),
        ("b+a+c", "a b c", ["b", "a", "c"]),
        ("a+b", "a b a+b", ["a+b"]),
        ("a+b+c", "a+b c", ["a+b", "c"]),
        ("a+b+c", "a b+c", ["a", "b+c"]),
    ],
)
def test_a_name_is_read_as_modalities(name: str, known: str, parts: list[str]) -> None:
    assert split_name(name, known.split()) == tuple(parts)


@pytest.mark.parametrize(
    ("name", "known", "text"),
    [
        ("x", "a b", r"hold no modality `x`\. They hold `a`, `b`: name one of these\.$"),
        (
            "a+x",
            "a b",
            r"no modality `x`\. They hold `a`, `b`: name one of these, or several with",
        ),
        ("a+a", "a b", r"`a\+a` names a modality twice"),
        ("a+", "a b", r"must have a name before and after each \+"),
        ("a+b+c", "a b+c a+b c", r"can be read as `\[a\]\+\[b\+c\]`, `\[a\+b\]\+\[c\]`"),
    ],
)
def test_what_cannot_be_read_is_refused(name: str, known: str, text: str) -> None:
    with pytest.raises(InputError, match=text):
        split_name(name, known.split())


def test_a_list_of_modalities_is_never_taken_for_one_with_a_plus_in_its_name() -> None:
    values = np.zeros((4, 2))
    data = PairedDataset.from_arrays({"a": values, "b": values, "a+b": values}, label=[0, 1, 0, 1])
    assert data.named("a+b") == "a+b"
    assert data.parts("a+b") == ("a+b",)
    with pytest.raises(InputError, match=r"`a\+b` is a modality of the data.*rename it"):
        data.named(["a", "b"])


def test_all_inputs_of_a_network_are_read_together() -> None:
    rng = np.random.default_rng(0)
    data = PairedDataset.from_arrays(
        {"a": rng.normal(size=(4, 2)), "b": rng.integers(5, size=(4, 3))}, label=[0, 1, 0, 1]
    )
    a, b = data.inputs_of("a+b", slice(1, 3))
    assert a.equal(data.inputs("a", slice(1, 3)))
    assert b.equal(data.inputs("b", slice(1, 3)))
    assert data.num_values("a+b") == 5
