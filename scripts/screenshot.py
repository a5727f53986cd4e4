"""Take the documents' pictures: the page of `make demo-serve` once its day has been collected.

docs/page.png and docs/page-dark.png show its upper half, docs/page-lower.png the other.

python -m scripts.screenshot
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from local.serving import BEHIND_MINUTES, REPLAY_MINUTES
from scripts.chromium import Chromium, installed

DOCS: Final = Path(__file__).parents[1] / "docs"
WIDTH: Final = 1440
EVERY_S: Final = 2.0
REPLAYS: Final = BEHIND_MINUTES // REPLAY_MINUTES
PATIENCE_S: Final = 600.0
HALF: Final = "document.querySelector('#models').closest('section').getBoundingClientRect().bottom"
"""Where the upper half of the page ends."""


@contextmanager
def serving(every_s: float) -> Iterator[str]:
    """`make demo-serve` in a process of its own, interrupted at the end; gives the page's address.

    Raises:
        RuntimeError: it does not start, or does not end well.
    """
    command = [sys.executable, "-m", "local.serve", "--port", "0", "--every", str(every_s)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            # if it cannot start, it ends by itself, and so does its output
            lines = iter(process.stdout or ())
            found = (re.search(r"^Open (\S+) in a browser", line) for line in lines)
            opened = next((one for one in found if one), None)
            if opened is None:
                raise RuntimeError("make demo-serve did not start")
            yield opened[1]
        finally:
            process.send_signal(signal.SIGINT)
            status = process.wait(60)
    if status:
        raise RuntimeError(f"make demo-serve ended with {status}")


def main() -> int:
    """Take the pictures."""
    with ExitStack() as parts:
        folder = Path(parts.enter_context(tempfile.TemporaryDirectory()))
        url = parts.enter_context(serving(EVERY_S))
        browser = parts.enter_context(Chromium(installed(), folder / "profile"))
        for dark, name in ((False, "page"), (True, "page-dark")):
            with browser.page(WIDTH, 1000, dark=dark) as page:
                page.open(url)
                # wait until the simulated day is over and a run with the real clock came
                page.wait_for(f"Number(document.body?.dataset.run) > {REPLAYS}", PATIENCE_S)
                half = round(page.value(HALF)) + 8
                page.size(WIDTH, half)
                (DOCS / f"{name}.png").write_bytes(page.picture())
                if not dark:
                    whole = int(page.value("document.documentElement.offsetHeight"))
                    page.size(WIDTH, whole - half)
                    page.value(f"scrollTo(0, {half})")
                    (DOCS / "page-lower.png").write_bytes(page.picture())
    return 0


if __name__ == "__main__":
    sys.exit(main())
