"""Opening the report of 1,008 students in headless Chromium, from navigation to the load event.

The study is real: 28 seeds of 36 students of one epoch, on arrays of the shapes of UCI's digits.
`report_open` compares a second (the baseline) with the median of seven openings of the page from disk; an
empty page and the first paint are noted, and so are the page's size and the seconds that it takes to write.
`report_open_large` is the same page with 100,000 channels and 1,000 classes. Without Chromium and its driver
nothing is measured.
"""

import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._common import record
from benchmarks.commands import digits
from mfh import StudyConfig, study
from mfh._report import html
from mfh.results import StudyResult

SEEDS, OPENINGS, BUDGET = 28, 7, 1.0
PAINTED = "return performance.getEntriesByName('first-contentful-paint').map((e) => e.startTime)[0];"
LOADED = "return performance.getEntriesByType('navigation')[0].loadEventEnd;"


def run() -> None:
    """Run the study, write both pages and open them."""
    if shutil.which("chromedriver") is None or shutil.which("chromium") is None:
        print("report: not measured, there is no chromium and chromedriver (apt: chromium-driver)")
        return
    config = StudyConfig(
        teacher="pix", student="zer", seeds=SEEDS, ratio=[0.25, 0.5, 0.75], epochs=1, device="cpu"
    )
    with tempfile.TemporaryDirectory() as name, _chromium() as driver:
        folder = Path(name)
        empty = folder / "empty.html"
        empty.write_text("<!doctype html><title>Empty</title><p>Nothing.", encoding="utf-8")
        nothing, _ = _open(driver, empty)
        result = study(digits(), config=config)
        _measure(driver, folder, "report_open", result, nothing)
        _measure(driver, folder, "report_open_large", _large(result), nothing)


def _measure(driver: Any, folder: Path, name: str, result: StudyResult, nothing: float) -> None:
    begin = time.perf_counter()
    page = html(result)
    writing = time.perf_counter() - begin
    path = folder / f"{name}.html"
    path.write_text(page, encoding="utf-8")
    loaded, painted = _open(driver, path)
    record(
        name,
        BUDGET,
        loaded,
        records=len(result.records),
        first_contentful_paint=painted,
        empty_page=nothing,
        megabytes=path.stat().st_size / 1e6,
        seconds_to_write=writing,
    )
    print(f"{name}: {loaded:.2f} s to the load event, painted after {painted:.2f}, {len(page) / 1e6:.2f} MB")


def _large(result: StudyResult) -> StudyResult:
    """The same with 100,000 channels and 1,000 classes."""
    rng = np.random.default_rng(0)
    channels = {
        name: values if name == "seed" else rng.gamma(0.8, size=(2, 100_000))
        for name, values in result.channels.items()
    }
    channels["seed"] = np.arange(2)
    saliency = dict(result.saliency) | {"num_channels": 100_000}
    data = dict(result.data) | {"classes": [f"class {i}" for i in range(1000)]}
    return replace(result, channels=channels, saliency=saliency, data=data)


def _open(driver: Any, page: Path) -> tuple[float, float]:
    """Medians of seconds to the load event and to the first paint."""
    loaded, painted = [], []
    for _ in range(OPENINGS):
        driver.get(page.as_uri())
        loaded.append(driver.execute_script(LOADED) / 1000)
        painted.append((driver.execute_script(PAINTED) or 0) / 1000)
    return statistics.median(loaded), statistics.median(painted)


@contextmanager
def _chromium() -> Iterator[Any]:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for option in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking"):
        options.add_argument(option)
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        yield driver
    finally:
        driver.quit()
