"""The Gaussian experiments against what the released code prints, and against it written plainly."""

import importlib.util
import json
import re
from dataclasses import replace
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

from mfh._checks import InputError
from mfh._saliency.linear import SaliencyAccumulator
from mfh.data.sources.gaussian import draw_table
from mfh.experiments.gaussian import FIGURES, PAPER_FIGURES, run, run_all
from mfh.experiments.gaussian.linear import fit_pair, logits
from mfh.experiments.gaussian.table2 import count, series
from mfh.experiments.gaussian.table2_models import most_salient
from mfh.results import GaussianResult, load_results

ROOT = Path(__file__).parents[2]


@cache
def default(figure):
    """The run with default seeds, once for all tests of this module."""
    return run(figure, progress=False)


def point(figure, **place):
    (row,) = [
        row
        for row in default(figure).rows
        if all(
            row[key] == value if isinstance(value, str) else round(row[key], 3) == value
            for key, value in place.items()
        )
    ]
    return row


RELEASED_FIG2 = [  # gamma, teacher, no KD, KD, delta, its spread
    (0.000, 70.38, 69.41, 68.70, -0.71, 1.00),
    (0.111, 70.17, 69.41, 68.96, -0.45, 0.86),
    (0.250, 70.42, 69.41, 69.07, -0.34, 1.21),
    (0.429, 72.58, 69.41, 69.65, 0.24, 1.47),
    (0.667, 76.37, 69.41, 70.94, 1.53, 1.14),
    (1.000, 73.38, 69.41, 71.91, 2.50, 1.49),
]


@pytest.mark.parametrize("released", RELEASED_FIG2, ids=lambda row: f"gamma {row[0]}")
def test_figure_2_is_what_the_released_code_prints(released):
    row = point("fig2", gamma=released[0])
    names = ("teacher_mean", "no_kd_mean", "kd_mean", "delta_mean", "delta_std")
    np.testing.assert_allclose([row[name] for name in names], released[1:], atol=0.05)


def test_figure_3_starts_as_the_released_code_and_falls():
    first, last = default("fig3").rows[0], default("fig3").rows[-1]
    names = ("alpha", "teacher_mean", "no_kd_mean", "kd_mean", "delta_mean", "delta_std")
    np.testing.assert_allclose(
        [first[name] for name in names], (0, 58.45, 57.90, 59.49, 1.59, 1.06), atol=0.05
    )
    teachers, gains = ([row[name] for row in default("fig3").rows] for name in ("teacher_mean", "delta_mean"))
    assert last["teacher_mean"] > 90
    assert np.all(np.diff(teachers) > 0)
    assert np.all(np.diff(gains) < 0)


RELEASED_TABLE = [  # gamma, mode, regular teacher, no KD, regular KD as released, general teacher, general KD
    (0.333, "random", 89.82, 62.06, 63.15, 59.04, 62.08),
    (0.333, "gt", 89.82, 62.06, 63.15, 69.26, 64.75),
    (0.500, "random", 90.01, 67.31, 68.86, 60.80, 67.77),
    (0.500, "gt", 90.01, 67.31, 68.86, 73.28, 70.01),
]


@pytest.mark.parametrize("released", RELEASED_TABLE, ids=lambda row: f"gamma {row[0]} {row[1]}")
def test_table_2_is_what_the_released_code_prints(released):
    row = point("table2", gamma=released[0], mode=released[1])
    names = ("regular_teacher", "no_kd", "regular_kd_as_released", "general_teacher", "general_kd")
    np.testing.assert_allclose([row[f"{name}_mean"] for name in names], released[2:], atol=0.1)


def test_algorithm_1_finds_the_channels_and_teaches_as_well_as_the_truth():
    rows = [row for row in default("table2").rows if row["mode"] == "alg1"]
    assert len(rows) == 6
    for row in rows:
        truth = point("table2", gamma=round(row["gamma"], 3), mode="gt")
        assert min(row["recovery_x1"], row["recovery_x2"]) >= 0.9
        # Other initial weights and a wrong channel or two: within .4 points of the true channels.
        assert row["general_kd_mean"] == pytest.approx(truth["general_kd_mean"], abs=0.4)
    assert point("table2", gamma=0.333, mode="alg1")["general_teacher_mean"] == pytest.approx(69.37, abs=0.3)


def test_rows_have_the_columns_that_are_promised():
    figure = {"gamma", "teacher_share", "alpha", "teacher_mean", "no_kd_mean", "kd_mean", "delta_mean"}
    assert figure | {"delta_std"} == set(default("fig2").rows[0]) == set(default("fig3").rows[0])
    stems = [
        "regular_teacher",
        "no_kd",
        "regular_kd",
        "regular_kd_as_released",
        "general_teacher",
        "general_kd",
    ]
    stems += ["regular_teacher_b", "regular_kd_b", "general_teacher_a", "general_kd_a", "no_kd_ab"]
    wanted = {"gamma", "mode", "recovery_x1", "recovery_x2", *(f"{stem}_mean" for stem in stems)}
    assert set(default("table2").rows[0]) == wanted
    places = [(round(row["gamma"], 3), row["mode"]) for row in default("table2").rows]
    gammas = (0.333, 0.5, 0.6, 0.667, 0.714, 0.75)
    assert places == [(gamma, mode) for gamma in gammas for mode in ("random", "gt", "alg1")]


def test_records_hold_every_run_and_make_the_rows():
    for figure, runs in (("fig2", 6 * 3), ("fig3", 5 * 3), ("table2", 6 * (3 * 11 + 2))):
        frame = default(figure).frame()
        assert len(frame) == 10 * runs
        assert frame["validation"].isna().all()
        assert (frame["seconds"] > 0).all()
    frame = default("table2").frame().query("mode == 'gt' and arm == 'no_kd_ab'")
    means = frame.groupby("gamma")["test"].mean()
    for gamma, mean in means.items():
        row = point("table2", gamma=round(gamma, 3), mode="gt")
        assert row["no_kd_ab_mean"] == pytest.approx(mean)


def test_differences_pair_the_runs():
    frame = default("table2").frame()
    for line in default("table2").differences[::7]:
        here = frame[(frame["mode"] == line["mode"]) & (frame["gamma"] == line["gamma"])]
        a, b = (here[here["arm"] == line[side]]["test"].to_numpy() for side in ("a", "b"))
        delta = a - b
        # 2.262157 is the .975 quantile of Student's t with 9 degrees of freedom.
        half = 2.262157 * delta.std(ddof=1) / np.sqrt(10)
        ends = [line["difference"], line["low"], line["high"]]
        np.testing.assert_allclose(ends, delta.mean() + half * np.array([0, -1, 1]), atol=1e-5)


def test_the_ranking_is_that_of_the_library_and_of_permutations():
    draw = next(draw_table(seed=42))
    rng = np.random.default_rng(0)
    starts = rng.uniform(-0.1, 0.1, (2, 2, 51)).astype(np.float32)
    teacher, student = fit_pair(draw.a.x1, draw.a.x2, draw.a.label, *starts)
    other = logits(draw.a.x2, student)
    ranking = most_salient(draw.a.x1, teacher, other)
    library = SaliencyAccumulator(torch.from_numpy(teacher[:, :-1]), torch.from_numpy(teacher[:, -1]))
    library.update(torch.from_numpy(draw.a.x1.T.copy()), torch.from_numpy(other))
    np.testing.assert_array_equal(ranking, library.compute(warn=False).ranking)
    distances = []
    for channel in (ranking[0], ranking[-1]):
        changed, total = draw.a.x1.copy(), 0.0
        for _ in range(50):
            changed[channel] = rng.permutation(draw.a.x1[channel])
            total += float(((logits(changed, teacher) - other) ** 2).mean())
        distances.append(total)
    assert distances[0] > distances[1]


def test_a_channel_that_cannot_matter_ranks_last():
    draw = next(draw_table(seed=42))
    x1 = draw.a.x1.copy()
    x1[3] = 1.0
    weights = np.ones((2, 51), np.float32)
    assert most_salient(x1, weights, logits(x1, weights))[-1] == 3


def test_the_result_does_not_depend_on_threads_or_order():
    alone, together = (run("fig2", runs=3, progress=False, threads=threads) for threads in (1, 3))
    assert alone.rows == together.rows
    assert [replace(r, seconds=0.0) for r in alone.records] == [
        replace(r, seconds=0.0) for r in together.records
    ]
    later = run("fig2", runs=1, seed=2, progress=False)
    for record, again in zip(alone.records[-len(later.records) :], later.records, strict=True):
        assert (record.seed, record.test) == (again.seed, again.test)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """One run of everything, and the folder it was written to."""
    folder = tmp_path_factory.mktemp("gaussian")
    return folder, run_all(runs=1, out=folder, progress=False, figures=FIGURES)


def test_the_regime_holds_figure_3(written):
    rows, figure = written[1]["regime"].rows, written[1]["fig3"].rows
    cell = [row for row in rows if (row["num_train"], row["noise"]) == (200, 40)]
    assert [row["kd_mean"] for row in cell] == [row["kd_mean"] for row in figure]
    assert len(rows) == 100
    # Without noise channels and with many samples there is little left to teach.
    easy = [row for row in rows if (row["num_train"], row["noise"]) == (800, 0)]
    assert max(abs(row["delta_mean"]) for row in easy) < 1


@pytest.mark.parametrize("figure", FIGURES)
def test_one_run_has_no_interval_and_says_so(figure, written):
    result = written[1][figure]
    assert all(line["low"] is None and line["high"] is None for line in result.differences)
    assert not re.search(r"\bnan\b|None", " ".join(result.notes))


def test_notes_are_computed_from_the_run():
    for figure in ("fig2", "fig3", "table2"):
        other = run(figure, runs=2, seed=500, progress=False)
        assert default(figure).notes[0] != other.notes[0]
        assert len(set(default(figure).notes) - set(other.notes)) >= 3
    notes = default("table2").notes
    for a, b, start in (
        ("general_kd_a", "regular_kd", "What remains of the claim"),
        ("regular_kd_as_released", "regular_kd", "The defect"),
        ("general_kd", "regular_kd", "The confound"),
        ("no_kd_ab", "general_kd", "The labels of A"),
    ):
        lines = [
            line
            for line in default("table2").differences
            if (line["a"], line["b"], line["mode"]) == (a, b, "gt")
        ]
        (note,) = [note for note in notes if note.startswith(start)]
        assert series(lines) in note
        assert len(lines) == 6


def test_counts_follow_the_intervals():
    lines = [{"low": 0.2, "high": 0.4}, {"low": -0.4, "high": -0.1}, {"low": -1.0, "high": 1.0}]
    assert (count(lines), count(lines, -1)) == ("at 1 of 3 gammas", "at 1 of 3 gammas")
    assert count([{"low": None, "high": None}]) == "at 0 of 1 gammas"


def test_files_of_a_run(written):
    for figure, result in written[1].items():
        folder = written[0] / figure
        loaded = load_results(folder)
        assert isinstance(loaded, GaussianResult)
        assert (loaded.rows, loaded.records) == (tuple(result.rows), tuple(result.records))
        assert list(loaded.notes) == list(result.notes)
        assert list(loaded.differences) == list(result.differences)
        assert {path.name for path in (folder / "figures").iterdir()} == {
            f"{figure}.{kind}" for kind in ("svg", "pdf", "png")
        }
        ElementTree.parse(folder / "figures" / f"{figure}.svg")
        assert (folder / "figures" / f"{figure}.pdf").read_bytes().startswith(b"%PDF")
        assert json.loads((folder / "results.json").read_text())["config"]["runs"] == 1


def test_the_same_run_draws_the_same_figure(written, tmp_path):
    run("fig3", runs=1, out=tmp_path, progress=False)
    for kind in ("svg", "pdf", "png"):
        path = Path("figures") / f"fig3.{kind}"
        assert (tmp_path / path).read_bytes() == (written[0] / "fig3" / path).read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"figure": "fig4"},
            "`figure` must be one of `fig2`, `fig3`, `table2`, `regime`. Got 'fig4' instead.",
        ),
        ({"runs": 0}, "`runs` must be a whole number of 1 or more. Got 0 instead."),
        ({"runs": -3}, "`runs` must be a whole number of 1 or more. Got -3 instead."),
        ({"seed": -1}, "`seed` must be a whole number from 0 to 4294967295. Got -1 instead."),
        ({"seed": 2**32 - 2}, "`seed` + `runs` must be at most 4294967295"),
        ({"threads": 0}, "`threads` must be a whole number of 1 or more. Got 0 instead."),
    ],
)
def test_bad_input_is_refused_before_anything_runs(arguments, message, tmp_path):
    arguments = {"figure": "fig2", "out": tmp_path / "new", **arguments}
    with pytest.raises(InputError, match=re.escape(message)):
        run(arguments.pop("figure"), progress=False, **arguments)
    assert not (tmp_path / "new").exists()


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "taken").touch()
    with pytest.raises(InputError, match="`out` must be a folder"):
        run("fig2", out=tmp_path / "taken", progress=False)


def test_all_means_the_three_of_the_paper():
    assert FIGURES == ("fig2", "fig3", "table2", "regime")
    assert FIGURES[:3] == PAPER_FIGURES


def documented(heading):
    """Cells of the first table below a heading of the documentation."""
    lines = (ROOT / "docs" / "gaussian.md").read_text(encoding="utf-8").split(heading, 1)[1].splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("|"))
    table = [line for line in lines[first : lines.index("", first)] if line.startswith("|")]
    return [
        [cell.strip().replace("\N{MINUS SIGN}", "-") for cell in line.split("|")[1:-1]] for line in table[2:]
    ]


@pytest.mark.parametrize(
    ("figure", "heading", "columns"),
    [
        ("fig2", "## Figure 2", ["gamma", "teacher_share", "teacher_mean", "no_kd_mean", "kd_mean"]),
        ("fig3", "## Figure 3", ["alpha", "teacher_share", "teacher_mean", "no_kd_mean", "kd_mean"]),
    ],
)
def test_the_documentation_holds_the_figures(figure, heading, columns):
    table, rows = documented(heading), default(figure).rows
    assert len(table) == len(rows)
    for cells, row in zip(table, rows, strict=True):
        np.testing.assert_allclose([float(cell) for cell in cells[:5]], [row[c] for c in columns], atol=0.05)
        gain = [float(part) for part in cells[5].split("±")]
        np.testing.assert_allclose(gain, [row["delta_mean"], row["delta_std"]], atol=0.05)


def test_the_documentation_holds_the_table():
    columns = [
        "regular_teacher",
        "no_kd",
        "regular_kd",
        "regular_kd_as_released",
        "general_teacher",
        "general_kd",
    ]
    table, rows = documented("## Table 2"), default("table2").rows
    assert len(table) == len(rows) == 18
    for cells, row in zip(table, rows, strict=True):
        assert (float(cells[0]), cells[1]) == (round(row["gamma"], 3), row["mode"])
        # Other processors round otherwise, which moves a sample or two of 10,000.
        expected = [row[f"{column}_mean"] for column in columns]
        np.testing.assert_allclose([float(cell) for cell in cells[2:8]], expected, atol=0.05)


def plain_procedure():
    path = ROOT / "benchmarks" / "_gaussian_plain.py"
    spec = importlib.util.spec_from_file_location("gaussian_plain", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def plain():
    """The released procedure in plain PyTorch, and the global streams put back after it."""
    numpy_state = np.random.get_state()  # noqa: NPY002
    torch_state = torch.get_rng_state()
    yield plain_procedure()
    np.random.set_state(numpy_state)  # noqa: NPY002
    torch.set_rng_state(torch_state)


@pytest.mark.slow
@pytest.mark.parametrize("figure", ["fig2", "fig3"])
def test_every_row_of_a_figure_is_that_of_the_plain_procedure(figure, plain):
    for index, row in enumerate(default(figure).rows):
        expected = plain.mean_rows(
            [plain.figure_point(figure, index, seed, plain.Plain(every_step=False)) for seed in range(10)]
        )
        for name, value in expected.items():
            assert row[f"{name}_mean"] == pytest.approx(value, abs=0.05), (index, name)


@pytest.mark.slow
@pytest.mark.parametrize("shared", [5, 10, 15, 20, 25, 30])
def test_every_row_of_the_table_is_that_of_the_plain_procedure(shared, plain):
    trainer = plain.Plain(every_step=False)
    for mode, swapped in (("random", True), ("gt", False)):
        row = point("table2", gamma=round(shared / (10 + shared), 3), mode=mode)
        expected = plain.mean_rows(
            [plain.table_point(shared, mode, seed, trainer, swapped=swapped) for seed in range(42, 52)]
        )
        assert len(expected) == 5
        for name, value in expected.items():
            assert row[f"{name}_mean"] == pytest.approx(value, abs=0.1), name


@pytest.mark.slow
def test_algorithm_1_finds_what_permutations_find(plain):
    trainer = plain.Plain(every_step=False)
    runs = [plain.table_point(5, "alg1", seed, trainer) for seed in range(42, 47)]
    expected = plain.mean_rows(runs)
    records = [r for r in default("table2").records if r.mode == "alg1" and r.seed < 47 and r.gamma < 0.4]
    for arm, name in (("joint_teacher", "recovery_x1"), ("joint_student", "recovery_x2")):
        found = np.mean([record.recovery for record in records if record.arm == arm])
        assert found == pytest.approx(expected[name], abs=0.081)  # two channels of 25
