"""A headless Chromium, controlled over a pipe with the DevTools protocol.

with Chromium(path, profile) as browser, browser.page(390, 844, dark=True) as page:
    page.open("http://127.0.0.1:8010/")
    page.wait_for("document.title !== ''")
    picture = page.picture()
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from local.closing import Closing

PATIENCE_S: Final = 60.0

# It shows one page of this machine and must send no other request.
_FLAGS: Final = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--hide-scrollbars", "--remote-debugging-pipe"),
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)


def installed() -> Path:
    """The path of the program; `get-chromium` installs it if it can.

    Raises:
        RuntimeError: there is none.
    """
    script = Path(__file__).with_name("get-chromium")
    ran = subprocess.run([script], check=False, capture_output=True, text=True, timeout=900)
    if ran.returncode:
        raise RuntimeError(ran.stderr.strip())
    return Path(ran.stdout.strip())


class Chromium(Closing):
    """A running browser, until it is closed.

    Args:
        program: the path of the browser.
        profile: a new, empty folder.
    """

    def __init__(self, program: Path, profile: Path) -> None:
        self._number = 0
        self._unread = b""
        self.events: list[dict[str, Any]] = []
        their_input, self._output = os.pipe()
        self._input, their_output = os.pipe()
        # The browser uses the file descriptors 3 and 4, which may be in use here: move ours up.
        their_input, their_output = (_high(fd) for fd in (their_input, their_output))
        log = str(profile.with_name("chromium.log"))
        self._pid = os.posix_spawn(
            program,
            [str(program), *_FLAGS, f"--user-data-dir={profile}", "about:blank"],
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, their_input, 3),
                (os.POSIX_SPAWN_DUP2, their_output, 4),
                (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
        )
        os.close(their_input)
        os.close(their_output)

    @contextmanager
    def page(self, width: int, height: int, *, dark: bool) -> Iterator[Page]:
        """A page of a size in pixels, in the dark or the light theme."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, session)
        for domain in ("Page", "Runtime", "Network", "Log"):
            page.call(f"{domain}.enable")
        page.size(width, height)
        theme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        page.call("Emulation.setEmulatedMedia", features=theme)
        try:
            yield page
        finally:
            self.call("Target.closeTarget", targetId=target)

    def call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol and wait for its result.

        Raises:
            RuntimeError: the browser answered with an error.
            TimeoutError: it did not answer.
        """
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self._output, json.dumps(message).encode() + b"\0")
        ends = time.monotonic() + PATIENCE_S
        while True:
            received = self._next(ends)
            if received.get("id") == self._number:
                if "error" in received:
                    raise RuntimeError(f"{method}: {received['error']['message']}")
                result: dict[str, Any] = received["result"]
                return result
            self.events.append(received)

    def _next(self, ends: float) -> dict[str, Any]:
        while b"\0" not in self._unread:
            left = ends - time.monotonic()
            if left <= 0 or not select.select([self._input], [], [], left)[0]:
                raise TimeoutError("Chromium does not answer")
            read = os.read(self._input, 1 << 16)
            if not read:
                raise RuntimeError("Chromium has ended")
            self._unread += read
        message, _, self._unread = self._unread.partition(b"\0")
        received: dict[str, Any] = json.loads(message)
        return received

    def close(self) -> None:
        """End the browser."""
        with suppress(RuntimeError, TimeoutError, OSError):
            self.call("Browser.close")
        for fd in (self._output, self._input):
            os.close(fd)
        ends = time.monotonic() + 10
        while os.waitpid(self._pid, os.WNOHANG) == (0, 0):
            if time.monotonic() > ends:
                os.kill(self._pid, signal.SIGKILL)
                os.waitpid(self._pid, 0)
                return
            time.sleep(0.05)


class Page:
    """A page of the browser."""

    def __init__(self, browser: Chromium, session: str) -> None:
        self._browser = browser
        self._session = session

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """As `Chromium.call`, for this page."""
        return self._browser.call(method, self._session, **parameters)

    def size(self, width: int, height: int) -> None:
        """Change the size, in pixels."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )

    def open(self, url: str) -> None:
        """Open an address."""
        self.call("Page.navigate", url=url)

    def value(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page.

        Raises:
            RuntimeError: it throws.
        """
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{expression}: {answer['exceptionDetails']['text']}")
        return answer["result"].get("value")

    def wait_for(self, expression: str, patience_s: float = PATIENCE_S) -> None:
        """Wait until a JavaScript expression is true.

        Raises:
            TimeoutError: it does not become true.
        """
        ends = time.monotonic() + patience_s
        while not self.value(expression):
            if time.monotonic() > ends:
                raise TimeoutError(expression)
            time.sleep(0.1)

    def picture(self) -> bytes:
        """A screenshot as a PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])

    def addresses(self) -> Sequence[str]:
        """The addresses of all requests of the page."""
        return [event["request"]["url"] for event in self._of("Network.requestWillBeSent")]

    def complaints(self) -> Sequence[str]:
        """The exceptions of the page and the entries of its log."""
        thrown = [one["exceptionDetails"]["text"] for one in self._of("Runtime.exceptionThrown")]
        logged = [one["entry"]["text"] for one in self._of("Log.entryAdded")]
        return [*thrown, *logged]

    def _of(self, method: str) -> list[dict[str, Any]]:
        return [
            event["params"]
            for event in self._browser.events
            if event.get("method") == method and event.get("sessionId") == self._session
        ]


def _high(fd: int) -> int:
    """A duplicate of a file descriptor, numbered 10 or higher; the original is closed."""
    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10)
    finally:
        os.close(fd)
