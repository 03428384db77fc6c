"""What only a browser can show: no error, no request, nothing overflows, all works by mouse and keyboard."""

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from report_browser import NEEDED, axe_core, chromium, complaints, requests, show, violations

from mfh._report import compare, html, report
from mfh._report.render import render
from mfh.results import Diagnosis, StudyResult, Verdict

pytestmark = [pytest.mark.slow, NEEDED]
LONG = "a long name of a modality " * 3
OVERFLOWING = """
return [...document.querySelectorAll("body *")].filter((e) => !e.closest(".scroll, pre, svg, .plot, .skip"))
  .filter((e) => e.getBoundingClientRect().right > innerWidth + 1).map((e) => e.tagName + "." + e.className);
"""


@pytest.fixture(scope="module")
def driver():
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def pages(make_study, diagnosis, tmp_path_factory):
    """Name -> file, one of every kind."""
    folder = tmp_path_factory.mktemp("pages")
    study = make_study(teacher=LONG, student="s" * 80, diagnosis=diagnosis)
    values = {field.name: getattr(study, field.name) for field in fields(study)}
    found = {
        "study": report(study, folder / "study.html"),
        "one-seed": report(replace(make_study(seeds=1), curves={}), folder / "one-seed.html"),
        "empty": report(StudyResult(), folder / "empty.html"),
        "diagnosis": report(Diagnosis(**values), folder / "diagnosis.html"),
        "comparison": compare(
            {LONG: study, "b": make_study(seeds=3)}, folder / "comparison.html", {"c": "No."}
        ),
        "unfinished": folder / "unfinished.html",
    }
    stages = [{"name": "teachers", "done": 3, "total": 9, "seconds_left": 61.0}]
    unfinished = {
        "kind": "unfinished", "title": "A study that has not ended: x", "headline": "1 of 2 fits finished.",
        "sentences": ["Missing: fit 1."], "stages": stages, "config": {"epochs": 3}, "environment": {},
        "fits": [{"number": 0, "state": "finished"}, {"number": 1, "state": "begun"}], "timings": {},
        "command": "mfh study", "source_note": "So far.",
        "arms": [{"arm": "no-kd", "ratio": None, "loss": "", "metric": "accuracy", "mean": 80.0, "n": 1}],
    }  # fmt: skip
    found["unfinished"].write_text(render(unfinished), encoding="utf-8")
    return found


KINDS = ("study", "one-seed", "empty", "diagnosis", "comparison", "unfinished")


@pytest.mark.parametrize("kind", KINDS)
def test_no_error_no_request_nothing_overflows_nothing_bars_access(driver, pages, kind, pytestconfig):
    script = axe_core(pytestconfig.cache.mkdir("axe"))
    for width, dark in ((360, False), (820, True), (1280, False), (1280, True)):
        show(driver, pages[kind], width=width, dark=dark)
        assert complaints(driver) == []
        assert requests(driver) == [pages[kind].as_uri()]
        assert driver.execute_script(OVERFLOWING) == []
        assert driver.execute_script("return document.documentElement.scrollWidth") <= width
        driver.execute_script("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
        assert violations(driver, script) == []
        complaints(driver), requests(driver)


def column(driver: Any, table: str, place: int) -> list[str]:
    return driver.execute_script(
        f"return [...document.querySelectorAll('{table} tbody tr')].filter((r) => !r.hidden)"
        f".map((r) => r.cells[{place}].textContent)"
    )


def numbers(texts: list[str]) -> list[float]:
    return [float(text.replace("\N{MINUS SIGN}", "-")) for text in texts]


def test_tables_sort_by_mouse_and_by_keyboard(driver, pages):
    from selenium.webdriver.common.keys import Keys

    show(driver, pages["study"])
    driver.execute_script("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    button = driver.find_elements("css selector", "#arms-table thead button")[2]
    driver.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", button)
    button.click()
    up = numbers(column(driver, "#arms-table", 2))
    assert up == sorted(up)
    button.send_keys(Keys.ENTER)
    down = numbers(column(driver, "#arms-table", 2))
    assert down == sorted(up, reverse=True)
    head = button.find_element("xpath", "..")
    assert head.get_attribute("aria-sort") == "descending"
    bar = "//*[@id='arms-table']/preceding::div[@class='controls-bar'][1]//input"
    words = driver.find_element("xpath", bar)
    words.send_keys("softened")
    arms = column(driver, "#arms-table", 0)
    assert arms
    assert all("softened" in arm for arm in arms)


class TestChannels:
    TABLE = "#explore-channels table"

    @pytest.fixture
    def page(self, driver, pages):
        show(driver, pages["study"])
        return driver

    def field(self, page: Any, label: str) -> Any:
        path = f"//*[@id='explore-channels']//label[span='{label}']/*[self::input or self::select]"
        return page.find_element("xpath", path)

    def status(self, page: Any) -> str:
        return page.find_element("css selector", "#explore-channels .count").text

    def test_sorted_by_keyboard_a_page_at_a_time(self, page):
        from selenium.webdriver.common.keys import Keys

        assert self.status(page) == "64 channels, 1 to 20 shown"
        button = page.find_elements("css selector", f"{self.TABLE} thead button")[1]
        button.send_keys(Keys.ENTER)
        button.send_keys(Keys.SPACE)
        values = numbers(column(page, self.TABLE, 1))
        assert values == sorted(values, reverse=True)
        assert column(page, self.TABLE, 3) == [str(rank) for rank in range(1, 21)]
        page.find_element("xpath", "//*[@id='explore-channels']//button[.='Next']").send_keys(Keys.ENTER)
        assert column(page, self.TABLE, 3)[0] == "21"
        assert self.status(page) == "64 channels, 21 to 40 shown"

    def test_filtered_and_searched(self, page, make_study):
        from selenium.webdriver.support.ui import Select

        Select(self.field(page, "Ratio removed")).select_by_visible_text("0.75")
        Select(self.field(page, "Show")).select_by_visible_text("kept by general")
        assert self.status(page) == "16 channels, 1 to 16 shown"
        kept = {int(text) for text in column(page, self.TABLE, 0)}
        values = make_study().channels["increase_train"][0]
        assert kept == set(np.argsort(values, kind="stable")[48:].tolist())
        Select(self.field(page, "Show")).select_by_visible_text("all channels")
        search = self.field(page, "Channel numbers")
        search.send_keys("3, 60-70")
        assert column(page, self.TABLE, 0) == ["3", "60", "61", "62", "63"]
        search.clear()
        search.send_keys("relu")
        assert (
            "Channels are numbers from 0 to 63" in page.find_element("css selector", "#explore-channels").text
        )

    def test_read_along_the_plot_by_mouse_and_keyboard(self, page):
        from selenium.webdriver.common.action_chains import ActionChains
        from selenium.webdriver.common.keys import Keys

        plot = page.find_element("css selector", "#explore-channels .plot svg")
        page.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", plot)
        ActionChains(page).move_to_element(plot).perform()
        readout = page.find_element("css selector", "#explore-channels .readout")
        hovered = readout.text
        assert hovered.startswith("Channel 3")
        slider = self.field(page, "Read along the plot")
        slider.send_keys(Keys.HOME, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
        assert readout.text.startswith("Channel 2: saliency ")
        assert slider.get_attribute("aria-valuetext") == readout.text


def test_students_are_filtered_by_arm(driver, pages, make_study):
    from selenium.webdriver.support.ui import Select

    show(driver, pages["study"])
    Select(driver.find_element("css selector", "#explore-students select")).select_by_visible_text("self")
    assert set(column(driver, "#explore-students table", 0)) == {"self"}
    shown = driver.find_element("css selector", "#explore-students .count").text
    assert shown == "10 students, 1 to 10 shown"


def test_everything_is_printed_on_a4_and_no_figure_is_cut(driver, pages):
    show(driver, pages["study"], width=794)
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    height = (297 - 2 * 16) / 25.4 * 96
    tall = driver.execute_script(
        "return [...document.querySelectorAll('figure')].map((f) => f.getBoundingClientRect().height)"
    )
    assert len(tall) == 8
    assert max(tall) < height
    inside = "return [...document.querySelectorAll('figure')].map((f) => getComputedStyle(f).breakInside)"
    assert set(driver.execute_script(inside)) == {"avoid"}
    printed = driver.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True})
    assert len(printed["data"]) > 50_000


HOSTILE = "<script>alert(1)</script> & \"x\" 'y' </svg></script> $a_b^{ \\u003c"


@pytest.mark.parametrize("channels", [3, 100_000])
def test_a_thousand_students_and_classes_stay_under_three_megabytes(driver, make_study, tmp_path, channels):
    result = make_study(
        seeds=27, channels=channels, teacher=HOSTILE, student="b" * 300, diagnosis={},
        classes=[f"{HOSTILE} {i}" for i in range(1000)], verdict=Verdict("help", None, HOSTILE),
    )  # fmt: skip
    result = replace(
        result,
        records=[replace(r, arm=HOSTILE if r.arm == "no-kd" else r.arm) for r in result.records],
        channels={name: values[:2] for name, values in result.channels.items()},
    )
    assert len(result.records) > 900
    page = tmp_path / "page.html"
    page.write_text(html(result), encoding="utf-8")
    assert page.stat().st_size < 3_000_000
    requests(driver)  # those of pages before
    show(driver, page)
    assert complaints(driver) == []
    assert requests(driver) == [page.as_uri()]
    assert "alert(1)" in driver.find_element("css selector", "h1").text
    assert driver.find_element("css selector", "#explore-channels .count").text.startswith(
        f"{channels:,} channels"
    )
