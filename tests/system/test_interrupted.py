"""Ctrl-C and SIGTERM: a command ends soon and in order, says how to go on, and goes on as if undisturbed.

`MFH_SIGNALS` says how many signals each command gets at random moments (default: 2).
"""

import os
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from interrupts import CASES, SIGNALS, STATUS, interrupts, problems
from kills import Runner, content, heeds

from mfh._report import save_figures
from mfh._system.signals import raise_if_stopped, received, stoppable
from mfh.results import Comparison, StudyResult

COUNT = int(os.environ.get("MFH_SIGNALS", "2"))
LIMIT = 2.0
"""Seconds from the signal to the end, where nobody else uses the cores; a step here takes far less."""
AT_WORK = {
    "study": "out/state/seed-0000.json",
    "study with jobs": "out/state/*.json",
    "study of large networks": "out/state/seed-0000/ranked.npz",
    "diagnose": "out/.lock",
    "saliency": "out.partial.npz",
    "saliency with jobs": "out.partial.npz",
    "ravdess train": "out/state/seed-0000/*",
    "ravdess prepare": "out/data/*/*.jpg",
    "vggsound prepare": "out/folders/*/video_jpg/*.jpg",
    "vggsound prepare into tars": "out/tars/parts/*.jpg",
    "vggsound pretrain": "out/state/seed-0000/*",
    "vggsound distill": "out/state/seed-0000/*",
}
PAIRS = [
    pytest.param(name, number, marks=[] if name == "saliency" else [pytest.mark.slow])
    for name in CASES
    for number in SIGNALS
]


def others() -> float:
    """How much longer everything takes because of what else the machine does."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


@pytest.mark.parametrize(("name", "signal_name"), PAIRS)
def test_a_command_at_work_ends_in_order_and_goes_on(name: str, signal_name: str, tmp_path: Path) -> None:
    number, runner = SIGNALS[signal_name], Runner(CASES[name], tmp_path)
    try:
        runner.finish(tmp_path / "undisturbed" / "out")
        out = tmp_path / "stopped" / "out"
        for _ in range(3):  # on a busy machine the command may end before the signal is sent
            end = runner.send(number, out, AT_WORK[name], group=number == signal.SIGINT)
            if end.status != 0:
                break
            out = out.parent.with_name(f"{out.parent.name}-again") / "out"
        assert end.status == STATUS[number]
        assert problems(end, number, out) == []
        assert end.busy <= LIMIT
        assert end.seconds <= LIMIT * others()
        runner.finish(out)
    finally:
        runner.close()
    assert content(out.parent) == content(tmp_path / "undisturbed")


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_command_stopped_at_random_moments_ends_as_if_it_had_not_been(name: str, tmp_path: Path) -> None:
    ends = list(interrupts(CASES[name], tmp_path, COUNT, seed=0))
    assert sum(len(end["signals"]) for end in ends) == COUNT
    assert [end for end in ends if end["differing"] or end["problems"]] == []


def started(tmp_path: Path) -> "subprocess.Popen[str]":
    """A command that has begun to heed signals, and has imported little yet."""
    words = [
        "saliency",
        "--features",
        "h.npy",
        "--student-logits",
        "s.npy",
        "--head",
        "a.npz",
        "--out",
        "o.npz",
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "mfh", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        cwd=tmp_path, preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    while not heeds(process.pid):
        time.sleep(0.001)
    return process


@pytest.mark.parametrize("number", SIGNALS.values(), ids=SIGNALS)
@pytest.mark.parametrize("wait", [0.0, 0.03, 0.1, 0.3])
def test_a_command_that_is_starting_ends_in_order(number: int, wait: float, tmp_path: Path) -> None:
    process = started(tmp_path)
    time.sleep(wait)
    process.send_signal(number)
    _, told = process.communicate(timeout=60)
    if "`h.npy`" in told:
        pytest.skip("it had ended before the signal was sent")
    assert process.returncode == STATUS[signal.Signals(number)]
    assert [line for line in told.splitlines() if line] == [told.strip()]
    assert told.strip().startswith("mfh: stopped. ")
    assert re.search(r": repeat the command (to go on|if results are missing)\.$", told.strip())


@pytest.mark.parametrize("pause", [0.0, 0.01, 0.1])
def test_a_signal_that_is_sent_twice_is_one(pause: float, tmp_path: Path) -> None:
    process = started(tmp_path)
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        time.sleep(pause)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in told
    assert told.count("mfh: stopped. ") == 1


def patched(tmp_path: Path, parser: str, *words: str) -> tuple[int, str]:
    """A command whose parser is built by other code: its exit status and what it says on stderr."""
    script = (
        f"import os, sys, mfh.cli\n{parser}\nmfh.cli.build_parser = build\n"
        "from mfh.__main__ import main\nsys.exit(main())\n"
    )
    (tmp_path / "patched.py").write_text(script)
    done = subprocess.run(
        [sys.executable, "-m", "patched", *words], cwd=tmp_path, capture_output=True, text=True, check=False,
        timeout=60,
    )  # fmt: skip
    return done.returncode, done.stderr


def test_an_interrupt_within_code_that_is_run_from_text_has_its_status_too(tmp_path: Path) -> None:
    parser = "build = lambda: exec('os.kill(os.getpid(), 15)\\nwhile True: pass')"
    status, told = patched(tmp_path, parser)
    assert (status, told.count("mfh: stopped. ")) == (143, 1)


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("fit", "What was finished is kept: repeat the command to go on."),
        ("study", "What was finished is kept: repeat the command to go on."),
        ("export", "This command keeps no unfinished work: repeat the command to start again."),
        ("report", "This command keeps no unfinished work: repeat the command to start again."),
        ("predict", "This command keeps no unfinished work: repeat the command to start again."),
    ],
)
def test_only_commands_that_resume_say_so(command: str, says: str, tmp_path: Path) -> None:
    parser = "build = lambda: exec('os.kill(os.getpid(), 15)\\nwhile True: pass')"
    assert patched(tmp_path, parser, command) == (143, f"\nmfh: stopped. {says}\n")


def test_a_signal_that_an_import_takes_for_a_missing_package_stops_at_the_next_import(tmp_path: Path) -> None:
    careless = "import os\ntry:\n    os.kill(os.getpid(), 15)\nexcept:\n    pass\n"
    (tmp_path / "careless.py").write_text(careless)
    parser = "def build():\n    import careless\n    while True:\n        import colorsys"
    status, told = patched(tmp_path, parser)
    assert (status, told.count("mfh: stopped. ")) == (143, 1)


def lose_a_signal() -> None:
    """A signal whose exception ends where nobody catches it."""

    class Careless:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "unraisablehook", lambda _: None)
        Careless()
    assert received() == signal.SIGTERM


def test_a_signal_whose_exception_is_lost_stops_the_command_at_its_next_step() -> None:
    with stoppable(signal.SIGTERM):
        lose_a_signal()
        with pytest.raises(KeyboardInterrupt) as stopped:
            raise_if_stopped()
    assert stopped.value.args == (143,)
    raise_if_stopped()  # under no `stoppable` nothing is to be stopped


def test_a_lost_signal_stops_the_drawing_of_figures(tmp_path: Path) -> None:
    row = Comparison("general", "no-kd", 0.5, 9, 1.2, 0.4, 2.0, None, None, 0.01, None, False)
    with stoppable(signal.SIGTERM):
        lose_a_signal()
        with pytest.raises(KeyboardInterrupt):
            save_figures(StudyResult(comparisons=[row]), tmp_path, formats=["svg"])
    assert list(tmp_path.iterdir()) == []
