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
from tests import ROOT

pytestmark = pytest.mark.e2e

RUNS = 5
WIDTHS = (390, 768, 1280, 1920)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving(0.5) as url:
        yield url


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with Chromium(installed(), tmp_path_factory.mktemp("browser") / "profile") as browser:
        yield browser


@pytest.fixture(params=[(width, dark) for width in WIDTHS for dark in (False, True)], ids=str)
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
    assert set(shown(page, "#keys tbody th")) == {key["name"] for key in later["keys"]}
    assert shown(page, "#models tbody th") != []
    assert len(shown(page, "#relays tbody tr")) == 2
    assert set(shown(page, "#relays tbody > tr > :nth-child(2)")) == {"up"}


def test_it_draws_each_chart_with_its_legend_and_axis(page: Page) -> None:
    charts = page.value("[...document.querySelectorAll('.chart')].map((one) => one.id)")
    assert charts == ["days", "spent", "models-chart", "usage", "tokens", "overhead", "runs"]
    for chart in charts:
        assert page.value(f"document.querySelectorAll('#{chart} svg :is(path, .bar)').length"), (
            chart
        )
        # no number is cut off
        cut = f"""(() => {{
          const box = document.querySelector('#{chart} svg').getBoundingClientRect();
          return [...document.querySelectorAll('#{chart} .label')]
            .filter((one) => one.getBoundingClientRect().left < box.left - 1).length;
        }})()"""
        assert page.value(cut) == 0, chart
    for chart in ("spent", "models-chart", "runs"):
        assert "–" not in "".join(shown(page, f"#{chart} .legend .value")), chart
    assert all(text.startswith("$") for text in shown(page, "#spent .label[text-anchor=end]"))
    assert shown(page, "#overhead .limit-name") == ["promise of the p99, 10 ms"]


def test_an_axis_has_room_for_large_numbers_and_writes_them_short(page: Page) -> None:
    page.value("""(() => {
      const lines = [{name: 'a', values: [1500, 2400000]}];
      charts.spent.show([0, 3600], lines, {limits: [{name: 'limit', value: 2e6, line: 'a'}]});
    })()""")
    labels = shown(page, "#spent .label[text-anchor=end]")
    assert labels == ["$0", "$1M", "$2M", "$3M"]
    assert page.value("[shortMoney(1500), shortMoney(999), shortMoney(2.5)]") == [
        "$1.5K",
        "$999",
        "$2.50",
    ]


def test_a_chart_is_read_with_the_keyboard(page: Page) -> None:
    page.value("document.querySelector('#spent .plot').focus()")
    press(page, "ArrowLeft")
    said = page.value("document.querySelector('#spent [aria-live]').textContent")
    assert "$" in said
    press(page, "Home")
    assert page.value("document.querySelector('#spent [aria-live]').textContent") != said
    assert page.value("!document.querySelector('#spent .tip').hidden")
    press(page, "Escape")
    assert page.value("document.querySelector('#spent .tip').hidden")
    label = page.value("document.querySelector('#spent .plot').getAttribute('aria-label')")
    assert label.startswith("Spend by key, chart. Latest: ")
    assert len(shown(page, "#spent .unseen tr")) > 2


def test_a_line_is_hidden_and_shown_by_its_name_in_the_legend(page: Page) -> None:
    lines = "document.querySelectorAll('#tokens .area').length"
    press_first = "document.querySelector('#tokens .legend button').click()"
    before = page.value(lines)
    page.value(press_first)
    assert page.value(lines) == before - 1
    page.value(press_first)
    assert page.value(lines) == before


def test_it_says_that_it_is_simulated(page: Page) -> None:
    assert page.value("getComputedStyle(document.getElementById('simulated')).display") != "none"
    assert shown(page, "#simulated strong") == ["simulated"]


def test_nothing_to_show_and_no_answer_are_said_in_words(browser: Chromium, url: str) -> None:
    with browser.page(1280, 900, dark=False) as page:
        page.open(url)
        page.wait_for("document.body?.dataset.run")
        page.value("""show({keys: [], models: [], relays: [], accounts: [], soon: [], times: [],
          days: {dates: [], keys: [], month: {}}, overhead: {p50: [], p99: []}, rate_usd: null,
          usage: {hours: [], models: [], keys: [], usd: null},
          tokens: {'cache read': [], input: [], 'cache write': [], output: []}, now: 0})""")
        assert len(shown(page, ".chart.nothing .empty")) == 7
        assert len(shown(page, "td.empty")) == 6
        page.value("window.fetch = () => Promise.reject(new Error('gone'))")
        page.wait_for("!document.getElementById('trouble').hidden")
        assert "has it ended?" in page.value("document.getElementById('trouble').textContent")
        assert page.complaints() == []


def press(page: Page, key: str) -> None:
    for kind in ("keyDown", "keyUp"):
        page.call("Input.dispatchKeyEvent", type=kind, key=key)


def test_it_renews_itself(page: Page) -> None:
    run = page.value("Number(document.body.dataset.run)")
    page.wait_for(f"Number(document.body.dataset.run) > {run}")


def test_nothing_is_wider_than_the_screen(page: Page) -> None:
    width = "document.documentElement.clientWidth"
    assert page.value(f"document.documentElement.scrollWidth <= {width}")
    beyond = f"""[...document.querySelectorAll('section, h1, h2, .tiles p, .chart svg')]
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
    ground = page.value(f"({brightness})('backgroundColor', 'section.half')")
    assert (ground < 0.1) is dark
    for selector in ("section h2", "h2 small", "#keys th", "#relays .good"):
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
