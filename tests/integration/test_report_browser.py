"""The report in a real browser: nothing is requested, nothing is complained about, nothing sticks out on a phone."""

import re
import subprocess

from tests.browser import BROWSER, NEEDS_BROWSER
from tests.unit.test_report import finished  # noqa: F401 (a fixture)

pytestmark = NEEDS_BROWSER

# opens the report in a frame of a phone's width and writes down how wide its content is
FRAME = """<!doctype html><body><iframe src="{address}" width="390" height="800" onload="
document.body.append('width=' + this.contentDocument.documentElement.scrollWidth)"></iframe></body>"""


def browse(folder, address, *flags):
    """Return what the browser writes: the page's elements, and its log."""
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom"]
    quiet = ["--disable-background-networking", "--disable-component-update", "--no-first-run", "--disable-sync"]
    done = subprocess.run(
        [*command, *quiet, f"--user-data-dir={folder / 'profile'}", *flags, address],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    return done.stdout, done.stderr


def test_nothing_is_requested_and_nothing_complained_about(finished, tmp_path):  # noqa: F811
    log = tmp_path / "net.json"
    shown, said = browse(tmp_path, (finished / "report.html").as_uri(), f"--log-net-log={log}")
    assert 'id="conflicts"' in shown
    assert "CONSOLE" not in said
    page = re.compile(r'"url":"(?:https?|wss?)://(?![^"]*(?:google|gstatic|gvt1)[^"]*")[^"]*"')
    assert page.findall(log.read_text()) == []


def test_a_phone_scrolls_tables_not_the_page(finished, tmp_path):  # noqa: F811
    frame = tmp_path / "frame.html"
    frame.write_text(FRAME.format(address=(finished / "report.html").as_uri()))
    shown, _ = browse(tmp_path, frame.as_uri(), "--allow-file-access-from-files", "--virtual-time-budget=5000")
    (width,) = re.findall(r"width=(\d+)", shown.partition("</iframe>")[2])
    assert int(width) <= 390
