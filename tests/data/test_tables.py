"""Tables: columns as modalities, labels, groups and ids; files; what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import mfh
from mfh import InputError, PairedDataset
from mfh.data.prepared import fit_inputs, prepare_inputs, prepared_when_read
from mfh.data.tables import read_table

COUNT = 24
RNG = np.random.default_rng(0)
NUMBER = RNG.normal(size=COUNT).round(3)
CODES = np.arange(COUNT) % 3
SEX = np.where(np.arange(COUNT) % 2, "m", "f")
MISSING = np.arange(COUNT) % 6 == 4


def table(**columns: Any) -> pd.DataFrame:
    base = {
        "crp": NUMBER, "wbc": 2 * NUMBER, "vital_pulse": 70 + CODES, "vital_temp": 37 - NUMBER,
        "ill": np.array(["mild", "none", "severe"])[CODES], "patient": [f"p{i // 2}" for i in range(COUNT)],
    }  # fmt: skip
    return pd.DataFrame(base | columns)


def read(frame: pd.DataFrame, lab: Any = ("crp", "wbc"), **settings: Any) -> PairedDataset:
    given = {"label": "ill", "group": "patient"} | settings
    return PairedDataset.from_frame(frame, {"lab": lab, "vitals": "vital_*"}, **given)


def gaps(values: Any, mark: Any = None) -> list[Any]:
    return [mark if gone else value for value, gone in zip(values, MISSING, strict=True)]


# --- columns


def test_columns_become_modalities() -> None:
    data = read(table(), id=None)
    assert {name: data.shape(name) for name in data.modalities} == {"lab": (2,), "vitals": (2,)}
    assert torch.equal(data.inputs("lab", slice(None))[:, 1], torch.tensor(2 * NUMBER).float())
    assert data.features["vitals"].names == ("vital_pulse", "vital_temp")
    assert data.class_names == ("mild", "none", "severe")
    assert data.group_names[:2] == ("p0", "p1")
    shuffled = table(name=[f"s{i}" for i in range(COUNT)]).sample(frac=1, random_state=0)
    assert read(shuffled, id="name").id.tolist() == shuffled.name.tolist()


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (CODES > 0, CODES > 0),
        (pd.array(CODES > 0, dtype="boolean"), CODES > 0),
        (pd.array(CODES, dtype="Int64"), CODES),
        (pd.array(NUMBER, dtype="Float64"), NUMBER),
        (pd.Series(CODES, dtype=object), CODES),
        (pd.arrays.SparseArray(CODES), CODES),
    ],
)
def test_columns_of_numbers(column: Any, expected: np.ndarray) -> None:
    data = read(table(crp=column), "crp")
    assert data.features["lab"].names == ("crp",)
    assert data.inputs("lab", slice(None))[:, 0].tolist() == pytest.approx(expected.astype(float).tolist())


@pytest.mark.parametrize(
    "column",
    [
        SEX,
        SEX.astype(object),
        pd.Series(SEX, dtype="string"),
        pd.Categorical(SEX, categories=["x", "m", "f"]),
    ],
)
def test_categories_are_one_hot(column: Any) -> None:
    data = read(table(crp=column), ["crp", "wbc"])
    assert data.features["lab"].names == ("crp=f", "crp=m", "wbc")
    assert data.features["lab"].category == (True, True, False)
    assert data.inputs("lab", slice(0, 3))[:, :2].tolist() == [[1, 0], [0, 1], [1, 0]]


@pytest.mark.parametrize(
    ("label", "names"),
    [
        (pd.Series(CODES > 0), ("False", "True")),
        (pd.array(gaps(CODES > 0), dtype="boolean"), ("False", "True")),
        (pd.array(gaps(CODES), dtype="Int64"), ("0", "1", "2")),
        (pd.Categorical(gaps(SEX)), ("f", "m")),
        (pd.Series(gaps(SEX), dtype="string"), ("f", "m")),
        (pd.Series(gaps(SEX), dtype=object), ("f", "m")),
    ],
)
def test_columns_of_labels_and_groups(label: Any, names: tuple[str, ...]) -> None:
    data = read(table(ill=label))
    assert data.class_names == names
    assert data.labelled.sum() in (COUNT, COUNT - MISSING.sum())
    whole = pd.Series(label).ffill()
    assert read(table(patient=whole)).group_names == names


def test_several_labels_and_targets() -> None:
    moods = {"mood_sad": CODES > 0, "mood_calm": pd.array(CODES > 1, dtype="boolean")}
    data = read(table(**moods), label="mood_*")
    assert (data.task, data.class_names) == ("multi-label", ("mood_sad", "mood_calm"))
    targets = read(table(), "wbc", label="crp", task="regression")
    assert targets.label.flatten().tolist() == pytest.approx(NUMBER.tolist())
    assert targets.class_names == ("crp",)
    assert read(table(), "wbc", label="crp", task="regression", class_names=["mg/l"]).class_names == ("mg/l",)
    with pytest.raises(InputError, match=r"Several columns of labels must hold numbers.*`patient` does not"):
        PairedDataset.from_frame(table(), {"a": "crp", "b": "wbc"}, label=["vital_pulse", "patient"])


def test_whole_numbers_that_become_targets_are_called_as_their_column() -> None:
    stages = read(table(stage=CODES), label="stage")
    assert (stages.task, stages.class_names) == ("single-label", ("0", "1", "2"))
    numbers = stages.with_task("regression")
    assert numbers.class_names == stages.rows(np.arange(12)).with_task("regression").class_names == ("stage",)
    again = read(table(stage=CODES), label="stage", task="regression")
    assert numbers.fingerprint == again.fingerprint
    assert numbers.with_task("single-label").class_names == ("0", "1", "2")


def test_the_fingerprint_sees_names() -> None:
    renamed = table().rename(columns={"crp": "crp2"})
    assert read(table()).fingerprint != read(renamed, ["crp2", "wbc"]).fingerprint


# --- what is refused


DAYS = pd.date_range("2024-01-01", periods=COUNT)


@pytest.mark.parametrize(
    ("columns", "text"),
    [
        (
            {"crp": DAYS},
            "Column `crp` must hold numbers, or categories. It holds dates or times, such as `2024",
        ),
        ({"crp": DAYS.astype(str)}, "It holds dates or times, such as `2024-01-01`"),
        ({"crp": DAYS.strftime("%d.%m.%Y")}, "It holds dates or times, such as `01.01.2024`"),
        ({"crp": DAYS - DAYS[0]}, "It holds dates or times"),
        ({"crp": DAYS.to_period("D")}, "It holds dates or times"),
        ({"crp": list(DAYS.date)}, "It holds dates or times"),
        ({"crp": [f"patient {i} slept well" for i in range(COUNT)]}, "text with 24 different values"),
        ({"crp": [1.5 if i else "n.a." for i in range(COUNT)]}, "It mixes number and text"),
        ({"crp": [f"{i}.5" if i != 3 else "n.a." for i in range(COUNT)]}, "first `n.a.` at sample 3"),
        ({"crp": [f"{i},5" for i in range(COUNT)]}, "with a decimal point. Got `0,5`.*--decimal ,"),
        ({"crp": np.where(MISSING, np.inf, NUMBER)}, r"It is infinite at sample 4 \(4 in all\)"),
        ({"crp": NUMBER + 1j}, "must hold real numbers"),
        ({"crp": [None] * COUNT}, "Column `crp` of modality `lab` has no value in any row"),
        ({"crp": gaps(NUMBER)}, r"Of 24 rows they are missing in crp \(4\): give `impute`"),
        ({"crp": gaps(SEX)}, r"missing in crp \(4\)"),
        ({"crp": [{"a": 1}] * COUNT}, "It mixes values of type dict|values of type dict"),
        ({"patient": gaps(SEX)}, "`group` must be given for every sample. It is missing at sample 4"),
    ],
)
def test_columns_that_are_refused(columns: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError, match=text) as caught:
        read(table(**columns))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("modalities", "settings", "text"),
    [
        ({"lab": "crp"}, {}, "must name two modalities or more.*The table has `crp`, `wbc`, `vital_pulse`"),
        (
            {"lab": "crp", "vitals": "vitals_*"},
            {},
            "Modality `vitals` must name columns of the table. It has no",
        ),
        ({"lab": "cpr", "vitals": "vital_*"}, {}, "It has no column `cpr`: did you mean `crp`"),
        ({"lab": [], "vitals": "vital_*"}, {}, "Modality `lab` must name one column or more"),
        ({"lab": "ill,crp", "vitals": "vital_*"}, {}, "Modality `lab` must not contain the label, `ill`"),
        ({"lab": "*", "vitals": "vital_*"}, {}, "Modality `lab` must not contain the label, `ill`"),
        ({"lab": "crp", "vitals": "vital_*"}, {"label": "sick"}, "The label must name columns of the table"),
        ({"lab": "crp", "vitals": "vital_*"}, {"group": "ward"}, "The group must name columns of the table"),
        ({"lab": "crp", "vitals": "vital_*"}, {"impute": "mean"}, "`impute` must be one of"),
    ],
)
def test_names_that_are_refused(modalities: Any, settings: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError, match=text):
        PairedDataset.from_frame(table(), modalities, **{"label": "ill", **settings})


def test_tables_that_are_refused() -> None:
    with pytest.raises(InputError, match="Several are called `crp`"):
        read(table().rename(columns={"wbc": "crp"}))
    with pytest.raises(InputError, match="Column 2 has none"):
        read(table().rename(columns={"wbc": " "}))
    with pytest.raises(InputError, match="must have a row for each sample"):
        read(table().iloc[:0])
    with pytest.raises(InputError, match="`label` must be given for one sample or more"):
        read(table(ill=[None] * COUNT))


# --- missing values, and what training rows decide


def test_missing_values_are_filled_in_by_training_rows() -> None:
    lab = ["crp", "sex", "wbc"]
    data = read(table(crp=gaps(NUMBER), sex=gaps(SEX)), lab, impute="median")
    names = ("crp", "sex=f", "sex=m", "wbc", "crp missing", "sex missing")
    assert data.features["lab"].names == names
    assert data.inputs("lab", slice(None))[:, 0].isnan().tolist() == MISSING.tolist()
    train = torch.arange(10)
    median = float(np.median(NUMBER[:10][~MISSING[:10]]))
    for standardized in ((), ("lab",)):
        fits = fit_inputs(data, train, standardized)
        seen = prepare_inputs(data, fits).inputs("lab", slice(None))
        assert torch.equal(seen, prepared_when_read(data, fits).inputs("lab", slice(None)))
        assert seen.isfinite().all()
        if standardized:
            assert seen[:10, 0].mean().item() == pytest.approx(0, abs=1e-6)
            assert len(set(seen[MISSING, 0].tolist())) == 1
        else:
            assert seen[MISSING, 0].tolist() == pytest.approx([median] * MISSING.sum())
            assert seen[:, 4].tolist() == MISSING.astype(float).tolist()
            assert seen[MISSING, 1:3].abs().sum() == 0


@pytest.mark.parametrize("standardized", [(), ("lab",)])
def test_categories_that_no_training_row_has_are_zero(standardized: tuple[str, ...]) -> None:
    colour = np.where(np.arange(COUNT) < 12, SEX, "x")
    data = read(table(crp=colour))
    seen = prepare_inputs(data, fit_inputs(data, torch.arange(12), standardized)).inputs("lab", slice(None))
    assert data.features["lab"].names[:3] == ("crp=f", "crp=m", "crp=x")
    assert seen[:, 2].abs().max() == 0
    assert seen[:12, 0].abs().max() > 0


def test_a_column_without_a_value_in_training_becomes_zero() -> None:
    late = np.where(np.arange(COUNT) < 12, np.nan, NUMBER)
    data = read(table(crp=late), impute="median")
    fits = fit_inputs(data, torch.arange(12), ("lab",))
    assert prepare_inputs(data, fits).inputs("lab", slice(None))[:, 0].abs().max() == 0


class Small(nn.Sequential):
    """A network of the user's."""

    def __init__(self, size: int) -> None:
        super().__init__(nn.Linear(size, 4), nn.ReLU(), nn.Linear(4, 3))


@pytest.mark.parametrize("own", [False, True])
def test_a_study_of_a_table_and_its_export(own: bool, tmp_path: Path) -> None:
    frame = pd.concat([table(wbc=gaps(NUMBER), colour=SEX)] * 3, ignore_index=True)
    frame["patient"] = range(len(frame))
    frame["crp"] = frame.crp + RNG.normal(size=len(frame))
    data = read(frame, ["wbc", "colour"], impute="median", group=None)
    config = mfh.StudyConfig(
        teacher="vitals", student="lab", repeats=1, folds=2, epochs=1, ratio=(0.5,), random_draws=1,
        arms=("no-kd", "regular", "general"), hidden=(4,),
    )  # fmt: skip
    teacher, student = (lambda: Small(2), lambda: Small(4)) if own else (None, None)
    result = mfh.study(data, teacher, student, config=config)
    assert result.config["networks"]["student"]["columns"] == ["wbc", "colour=f", "colour=m", "wbc missing"]
    result.export(tmp_path / "export", student=student) if own else result.export(tmp_path / "export")
    if not own:
        made = mfh.load_export(tmp_path / "export")
        assert made.student(data.inputs("lab", slice(None))).isfinite().all()


def test_distillation_and_diagnosis_of_a_table() -> None:
    frame = pd.concat([table(crp=gaps(NUMBER), colour=SEX)] * 5, ignore_index=True)
    data = read(frame, ["crp", "colour"], impute="median", group=None)
    quick = mfh.DistillConfig(epochs=1, device="cpu")
    for student in (None, Small(4)):
        taught = mfh.distill(Small(4), student, data, quick, teacher_modality="lab", student_modality="lab")
        assert np.isfinite(taught.predictions["logits"]).all()
    brief = mfh.DiagnoseConfig(seeds=1, folds=3, epochs=1, hidden=(4,), num_bootstrap=20, num_shuffles=2)
    assert 0 < mfh.diagnose(data, config=brief).diagnosis["probability"] < 1


# --- files


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_csv_files_of_every_kind(tmp_path: Path) -> None:
    plain = "crp,ill\n1.5,yes\n2.5,no\n"
    expected = read_table(write(tmp_path / "a.csv", plain))
    assert expected.crp.tolist() == [1.5, 2.5]
    others = {
        "bom.csv": (b"\xef\xbb\xbf" + plain.encode(), {}),
        "tabs.tsv": (plain.replace(",", "\t"), {}),
        "german.csv": (plain.replace(",", ";").replace(".", ","), {"delimiter": ";", "decimal": ","}),
        "windows.csv": (plain.replace("\n", "\r\n"), {}),
    }
    for name, (text, settings) in others.items():
        pd.testing.assert_frame_equal(read_table(write(tmp_path / name, text), **settings), expected)


@pytest.mark.parametrize(
    ("text", "settings", "message"),
    [
        ("crp;ill\n1;2\n", {}, "separated by ','.*one column, `crp;ill`: give `delimiter` ';'"),
        ("crp,crp,ill\n1,2,3\n", {}, "Several are called `crp`"),
        (",crp,ill\n0,1,2\n", {}, "Column 1 has none: name it, or write the table without it"),
        ("crp,ill\n", {}, "must have a row for each sample. It has none"),
        ("", {}, "must name its columns in the first row. It is empty"),
        ("crp,ill\n1,2,3\n", {}, "cannot be read as a csv: Length of header"),
        (b"crp,\xff\xfe\n1,2\n", {}, "cannot be read as a csv in UTF-8"),
        ("crp,ill\n1,2\n", {"decimal": ","}, "`decimal` must be one character that is not the delimiter"),
        ("crp,ill\n1,2\n", {"delimiter": ",,"}, "`delimiter` must be one character"),
    ],
)
def test_files_that_are_refused(text: Any, settings: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_table(write(tmp_path / "x.csv", text), **settings)
    assert "\n" not in str(caught.value)


def test_parquet_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "x.parquet", b"no parquet")

    def without(*_: Any, **__: Any) -> None:
        raise ImportError("pyarrow")

    with monkeypatch.context() as patch:
        patch.setattr(pd, "read_parquet", without)
        with pytest.raises(InputError, match=r"needs pyarrow: pip install 'mfh\[tables\]'"):
            read_table(path)
    with pytest.raises(InputError, match="does not exist"):
        read_table(tmp_path / "no.parquet")
    pytest.importorskip("pyarrow")
    with pytest.raises(InputError, match="cannot be read as parquet"):
        read_table(path)
    frame = table(sex=pd.Categorical(SEX), ill=pd.array(gaps(CODES), dtype="Int64"))
    frame.to_parquet(tmp_path / "y.parquet")
    data = read(read_table(tmp_path / "y.parquet"), "crp,sex")
    assert data.features["lab"].names == ("crp", "sex=f", "sex=m")
    assert data.labelled.sum() == COUNT - MISSING.sum()
