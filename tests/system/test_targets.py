"""Classes, functions and class methods by import path."""

import sys
from pathlib import Path

import pytest

from mfh._checks import InputError
from mfh._system.import_paths import ClassSpec, find_target, own_classes_only, search_folder_of

MODULE = """
import functools
from torch import nn


class Config:
    def __init__(self, width=4, **kwargs):
        self.width, self.more = width, kwargs


def strict(init):
    @functools.wraps(init)
    def checked(self, *args, **kwargs):
        self.classes = kwargs.pop("classes", 2)
        init(self, *args, **kwargs)

    return checked


class StrictConfig:
    @strict
    def __init__(self, width: int = 4) -> None:
        self.width = width


class Auto:
    @classmethod
    def from_config(cls, config, **kwargs):
        return nn.Linear(config.width, kwargs.get("classes", 2))

    @staticmethod
    def plain(width: int = 3) -> nn.Module:
        return nn.Linear(width, 2)

    def of_an_object(self):
        return None


class Typed(nn.Linear):
    def __init__(self, config: StrictConfig) -> None:
        super().__init__(config.width, config.classes)
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"stock_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


def test_a_class_method_makes_a_network_from_a_config(module: str) -> None:
    config = {"class_path": f"{module}.Config", "init_args": {"width": 7, "anything": 1}}
    spec = ClassSpec(f"{module}.Auto.from_config", {"config": config, "classes": 5})
    assert spec.problems("torch.nn.Module") == []
    made = spec()
    assert (made.in_features, made.out_features) == (7, 5)
    assert ClassSpec(f"{module}.Auto.plain", {"width": 6})().in_features == 6


def test_a_class_method_that_does_not_exist_is_named(module: str) -> None:
    with pytest.raises(InputError, match=r"no class method `from_confg`. Did you mean `from_config`?"):
        find_target(f"{module}.Auto.from_confg")
    with pytest.raises(InputError, match=r"no class method `of_an_object`. It has `from_config`, `plain`"):
        find_target(f"{module}.Auto.of_an_object")
    with pytest.raises(InputError, match=f"no module `{module}.Nothing`"):
        find_target(f"{module}.Nothing.from_config")


def test_a_class_method_is_refused_if_imports_are_off(module: str) -> None:
    find_target(f"{module}.Auto")
    with own_classes_only(), pytest.raises(InputError, match="is refused"):
        find_target(f"{module}.Auto.from_config")
    with own_classes_only(), pytest.raises(InputError, match=r"no module|is refused"):
        find_target("torch.nn.Module.register_module")


def test_a_typed_config_may_take_arguments_that_only_a_decorator_knows(module: str) -> None:
    config = {"class_path": f"{module}.StrictConfig", "init_args": {"width": 3, "classes": 4}}
    spec = ClassSpec(f"{module}.Typed", {"config": config})
    assert spec.problems("torch.nn.Module") == []
    made = spec()
    assert (made.in_features, made.out_features) == (3, 4)
    wrong = {"class_path": f"{module}.StrictConfig", "init_args": {"width": "wide"}}
    ((place, text),) = ClassSpec(f"{module}.Typed", {"config": wrong}).problems()
    assert place == ("init_args", "config", "init_args", "width")
    assert "must be int. Got 'wide'" in text


def test_the_folder_of_a_run_is_searched_last_if_imports_are_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = list(sys.path)
    monkeypatch.setattr(sys, "path", list(before))
    unusable = [None, [], {}, "text", *({"folder": f} for f in (None, 3, "", ".", "/no/such", "/a\0b"))]
    for sources in unusable:
        search_folder_of(sources)
    with own_classes_only():
        search_folder_of({"folder": str(tmp_path)})
    assert sys.path == before
    for _ in range(2):
        search_folder_of({"folder": str(tmp_path)})
        assert sys.path == [*before, str(tmp_path)]
