"""What only a browser can say: nothing overflows on a phone, tables sort by keyboard, nothing is fetched."""

import json
import re
import shutil
import subprocess
from html import unescape

import pytest

from mfh._report import html

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="needs chromium to look at the page"),
]
OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--allow-file-access-from-files",
)  # fmt: skip

PROBE = """
<script>
const wide = [...document.querySelectorAll("body *")].filter((e) => !e.closest(".scroll, pre, svg"))
  .filter((e) => e.getBoundingClientRect().right > innerWidth + 1).map((e) => e.tagName + "." + e.className);
const rows = () => [...document.querySelectorAll("#arms-table tbody tr")];
const column = () => rows().map((row) => +row.cells[2].dataset.value);
const button = document.querySelectorAll("#arms-table thead button")[2];
button.focus();
const focused = document.activeElement === button;
button.click();
const up = column();
button.click();
const down = column();
const seen = {
  wide, focused, up, down, width: document.documentElement.scrollWidth,
  sort: button.parentElement.getAttribute("aria-sort"),
  fetched: performance.getEntriesByType("resource").map((e) => e.name),
};
(parent === window ? window : parent).postMessage(JSON.stringify(seen), "*");
</script>"""
FRAME = """<!doctype html><pre id="seen"></pre>
<script>addEventListener("message", (e) => { seen.textContent = e.data; });</script>
<iframe src="page.html" style="border:0;width:WIDTHpx;height:3000px"></iframe>"""


@pytest.mark.parametrize("width", [360, 390, 820, 1280])
def test_page_in_a_browser(make_study, tmp_path, width):
    result = make_study(teacher="a long name of a modality " * 3, student="s" * 80)
    page = html(result).replace("</body>", PROBE + "</body>")
    (tmp_path / "page.html").write_text(page, encoding="utf-8")
    (tmp_path / "frame.html").write_text(FRAME.replace("WIDTH", str(width)), encoding="utf-8")
    done = subprocess.run(
        [BROWSER, *OPTIONS, f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1400,3200",
         "--virtual-time-budget=5000", "--dump-dom", (tmp_path / "frame.html").as_uri()],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    found = re.search(r'<pre id="seen">(.+?)</pre>', done.stdout, re.DOTALL)
    assert found, done.stderr[-2000:]
    seen = json.loads(unescape(found[1]))
    assert seen["wide"] == []
    assert seen["width"] <= width
    assert seen["fetched"] == []
    assert seen["focused"]
    assert seen["up"] == sorted(seen["up"])
    assert seen["down"] == sorted(seen["down"], reverse=True)
    assert seen["sort"] == "descending"
