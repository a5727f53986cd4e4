"""Write docs/page.png, the picture in the README: the page of `make demo-serve`, after a while.

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

from scripts.chromium import Chromium, installed

PICTURE: Final = Path(__file__).parents[1] / "docs" / "page.png"
RUNS: Final = 50
EVERY_S: Final = 2.0


@contextmanager
def serving(every_s: float) -> Iterator[str]:
    """`make demo-serve` in a process of its own, interrupted at the end; gives the page's address.

    Raises:
        RuntimeError: it does not start, or does not end well.
    """
    command = [sys.executable, "-m", "local.serve", "--port", "0", "--every", str(every_s)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            # it ends by itself where it cannot start, and so does what it says
            lines = iter(process.stdout or ())
            told = (re.search(r"^Open (\S+) in a browser", line) for line in lines)
            opened = next((one for one in told if one), None)
            if opened is None:
                raise RuntimeError("make demo-serve did not start")
            yield opened[1]
        finally:
            process.send_signal(signal.SIGINT)
            status = process.wait(60)
    if status:
        raise RuntimeError(f"make demo-serve ended with {status}")


def main() -> int:
    """Write it."""
    with ExitStack() as parts:
        folder = Path(parts.enter_context(tempfile.TemporaryDirectory()))
        url = parts.enter_context(serving(EVERY_S))
        browser = parts.enter_context(Chromium(installed(), folder / "profile"))
        page = parts.enter_context(browser.page(1440, 1000, dark=False))
        page.open(url)
        page.wait_for(f"Number(document.body?.dataset.run) >= {RUNS}")
        page.size(1440, int(page.value("document.documentElement.offsetHeight")))
        PICTURE.write_bytes(page.picture())
    return 0


if __name__ == "__main__":
    sys.exit(main())
