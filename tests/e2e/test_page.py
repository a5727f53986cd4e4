"""The page of `make demo-serve` in a browser: wide and narrow, light and dark."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from scripts.chromium import Chromium, Page, installed
from scripts.screenshot import serving

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
RUNS = 5
WIDE, PHONE = 1280, 390


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving(0.5) as url:
        yield url


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with Chromium(installed(), tmp_path_factory.mktemp("browser") / "profile") as browser:
        yield browser


@pytest.fixture(params=[(WIDE, False), (WIDE, True), (PHONE, False), (PHONE, True)], ids=str)
def page(request: pytest.FixtureRequest, browser: Chromium, url: str) -> Iterator[Page]:
    width, dark = request.param
    with browser.page(width, 900, dark=dark) as page:
        page.open(url)
        page.wait_for(f"Number(document.body?.dataset.run) >= {RUNS}")
        yield page
        # RELAY_PAGE_PICTURES names a folder for whoever wants to look
        if folder := os.environ.get("RELAY_PAGE_PICTURES"):
            page.size(width, int(page.value("document.documentElement.offsetHeight")))
            file = Path(folder) / f"{width}-{'dark' if dark else 'light'}.png"
            file.write_bytes(page.picture())


def shown(page: Page, selector: str) -> list[str]:
    texts: list[str] = page.value(
        f"[...document.querySelectorAll({selector!r})].map((one) => one.textContent)"
    )
    return texts


def number(text: str) -> float:
    return float(re.sub(r"[^0-9.]", "", text))


def test_it_shows_what_the_store_holds(page: Page, url: str) -> None:
    earlier = requests.get(f"{url}/figures.json", timeout=10).json()
    run = earlier["run"]
    page.wait_for(f"Number(document.body.dataset.run) >= {run}")
    tiles = dict(zip(shown(page, ".tiles h2"), shown(page, ".tiles p"), strict=True))
    later = requests.get(f"{url}/figures.json", timeout=10).json()
    for tile, what in (("Spent today", "today"), ("This month", "month")):
        least, most = (sum(key[what] for key in one["keys"]) for one in (earlier, later))
        assert least - 0.01 <= number(tiles[tile]) <= most + 0.01
    assert tiles["Relays up"] == "2 of 2"
    assert set(shown(page, "#keys td:first-child")) == {key["name"] for key in later["keys"]}
    assert shown(page, "#models td:first-child") != []
    assert len(shown(page, "#relays tbody tr")) == 2
    assert set(shown(page, "#relays td:nth-child(3)")) == {"up"}


def test_it_draws_three_charts_with_their_latest_figures(page: Page) -> None:
    assert page.value("document.querySelectorAll('.chart canvas').length") == 3
    # a chart of nothing would be of one colour
    drawn = """[...document.querySelectorAll('.chart canvas')].every((canvas) => {
      const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
      const colours = new Set();
      for (let at = 0; at < data.length; at += 4) colours.add(data.slice(at, at + 4).join());
      return colours.size > 20;
    })"""
    assert page.value(drawn)
    names, latest = (shown(page, f"#overhead .u-{what}") for what in ("label", "value"))
    assert names == ["at", "p99", "p50", "promise of the p99"]
    assert latest[-1] == "10 ms"
    assert "–" not in latest


def test_it_renews_itself(page: Page) -> None:
    run = page.value("Number(document.body.dataset.run)")
    spent = page.value("document.querySelector('[data-tile=requests]').textContent")
    page.wait_for(f"Number(document.body.dataset.run) > {run}")
    assert page.value("document.querySelector('[data-tile=requests]').textContent") != spent


def test_nothing_is_wider_than_the_screen(page: Page) -> None:
    width = "document.documentElement.clientWidth"
    assert page.value(f"document.documentElement.scrollWidth <= {width}")
    beyond = f"""[...document.querySelectorAll('section, h1, h2, .tiles p, .chart canvas')]
      .filter((one) => one.getBoundingClientRect().right > {width} + 0.5).length"""
    assert page.value(beyond) == 0


def test_its_colours_follow_the_theme_and_can_be_read(page: Page) -> None:
    dark = page.value("matchMedia('(prefers-color-scheme: dark)').matches")
    brightness = """(what, of) => {
      const parts = getComputedStyle(document.querySelector(of))[what].match(/[0-9.]+/g);
      const [r, g, b] = parts.map((part) => {
        const share = part / 255;
        return share <= 0.03928 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
      });
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    }"""
    ground = page.value(f"({brightness})('backgroundColor', 'section')")
    assert (ground < 0.1) is dark
    for selector in ("section h2", "h2 small", "#keys th", "#relays td.good"):
        text = page.value(f"({brightness})('color', {selector!r})")
        # WCAG's contrast ratio, AA for text
        assert (max(text, ground) + 0.05) / (min(text, ground) + 0.05) >= 4.5, selector


def test_it_asks_this_machine_only_and_complains_of_nothing(page: Page, url: str) -> None:
    assert len(page.addresses()) >= 5
    assert [one for one in page.addresses() if not one.startswith((url, "data:"))] == []
    assert page.complaints() == []


def test_only_this_machines_own_names_are_answered(url: str) -> None:
    named = requests.get(f"{url}/figures.json", headers={"Host": "example.com"}, timeout=10)
    assert (named.status_code, named.content) == (421, b"")
    assert requests.get(f"{url}/../serve.py", timeout=10).status_code == 404


def test_it_leaves_nothing_behind() -> None:
    before = descendants()
    with serving(0.5) as url:
        assert requests.get(url, timeout=10).status_code == 200
        started = descendants() - before
        assert len(started) >= 3  # itself, moto and the collector
    assert started & descendants(1) == set()
    with pytest.raises(requests.ConnectionError):
        requests.get(url, timeout=10)


def descendants(of: int | None = None) -> set[int]:
    """The processes that a process, this one by default, has started, and those that they have."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid=,stat="], check=True, capture_output=True)
    rows = [line.split() for line in listed.stdout.decode().splitlines()]
    parents = {int(pid): int(parent) for pid, parent, stat in rows if not stat.startswith("Z")}
    found = {os.getpid() if of is None else of}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def test_a_port_that_is_taken_is_said_to_be(url: str) -> None:
    port = url.rpartition(":")[2]
    ran = subprocess.run(
        [sys.executable, "-m", "local.serve", "--port", port],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 1
    assert f"port {port}" in ran.stderr
    assert "--port 0" in ran.stderr
