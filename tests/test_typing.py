"""What a type checker makes of the package's names."""

import subprocess
import sys
from pathlib import Path

import pytest

import mfh

pytest.importorskip("mypy")
PACKAGE = Path(mfh.__file__).parent


def test_a_name_that_the_package_lacks_is_an_error(tmp_path: Path) -> None:
    code = "import mfh\n\nmfh.studdy\nmfh.study\nmfh.StudyConfig\nmfh.__version__\n"
    (tmp_path / "user.py").write_text(code)
    # the types of what `mfh` imports do not matter here, and take a minute to work out
    options = ["--follow-imports=skip", "--disable-error-code=import", f"--cache-dir={tmp_path / 'cache'}"]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *options, str(PACKAGE / "__init__.py"), "user.py"],
        cwd=tmp_path, env={"MYPYPATH": str(PACKAGE.parent)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    errors = [line for line in done.stdout.splitlines() if ": error:" in line]
    assert errors == ['user.py:3: error: Module has no attribute "studdy"  [attr-defined]'], done.stdout


def test_every_name_of_the_package_is_known_to_a_type_checker() -> None:
    text = (PACKAGE / "__init__.py").read_text()
    assert all(f"import {name} as {name}\n" in text for name in mfh.__all__)
