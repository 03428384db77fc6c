"""The public names: each has an example, which the doctests run."""

import inspect

import pytest

import mfh
from mfh import _version


@pytest.mark.parametrize("name", sorted(mfh.__all__))
def test_every_public_name_has_an_example(name: str) -> None:
    value = getattr(mfh, name)
    if name == "__version__":
        value = _version
    own = [inspect.getdoc(value) or ""]
    if inspect.isclass(value):
        members = [inspect.getattr_static(value, member) for member in vars(value)]
        own += [getattr(member, "__doc__", None) or "" for member in members]
    assert any(">>>" in text for text in own)


def test_names_are_listed_and_others_refused() -> None:
    assert set(mfh.__all__) <= set(dir(mfh))
    with pytest.raises(AttributeError, match=r"it has .*study"):
        mfh.studdy  # noqa: B018
