"""Texts among the arguments of a network import nothing where nothing may be imported."""

from pathlib import Path

import pytest

from mfh import InputError
from mfh._system.import_paths import ClassSpec, own_classes_only

NET = "strange_module.Net"
JSON = f'{{"class_path": "{NET}"}}'
TEXTS = {
    "json": JSON, "yaml": f"class_path: {NET}", "compact": JSON.replace(" ", ""),
    "document": f"--- {JSON}", "mark": f"\ufeff{JSON}", "list": f"[{NET}]", "item": f"- {NET}",
    "quoted": f"'{NET}'", "comment": f"{NET} # x", "anchor": f"&a {NET}", "folded": f">\n {NET}",
    "hyphen": "strange-module.Net", "space": f" {NET}",
    "command": '{"class_path": "subprocess.Popen", "init_args": {"args": ["touch", "trace"]}}',
}  # fmt: skip
PLACES = {
    "torch.nn.TransformerEncoderLayer": ("activation", {"d_model": 2, "nhead": 1}),
    "torch.nn.Linear": ("device", {"in_features": 4, "out_features": 2}),
    "torch.nn.TransformerEncoder": ("encoder_layer", {"num_layers": 1}),
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_that_holds_values_imports_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = "import pathlib\npathlib.Path('trace').touch()\n"
    for file in ("strange_module.py", "strange-module.py"):
        (tmp_path / file).write_text(module)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for path, (argument, others) in PLACES.items():
        with own_classes_only(), pytest.raises(InputError, match="is refused"):
            ClassSpec(path, {**others, argument: TEXTS[name]})()
        assert not (tmp_path / "trace").exists()


def test_plain_texts_are_taken_where_nothing_may_be_imported() -> None:
    with own_classes_only():
        sizes = {"in_features": 2, "out_features": 3}
        assert ClassSpec("torch.nn.Linear", {**sizes, "device": "cpu"})().out_features == 3
        found = ClassSpec("mfh.data.sources.ravdess.reader.load", {"folder": "/a b/v1.2/c"}).problems()
        assert not [text for _, text in found if "refused" in text]
