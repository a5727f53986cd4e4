"""The page over HTTP: its files, and the figures as JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from local.http_server import HttpServer, Request, Response
from local.sql import LOOPBACK

_STATIC: Final = Path(__file__).parent / "static"
_FILES: Final[Mapping[str, tuple[str, str]]] = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    **{
        f"/{name}.js": (f"{name}.js", "text/javascript; charset=utf-8")
        for name in ("format", "chart", "page")
    },
}
_HEADERS: Final = {
    "Cache-Control": "no-store",
    # nothing but what is served here
    "Content-Security-Policy": "default-src 'self'; img-src data:",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def serve_page(
    figures: Callable[[], Mapping[str, Any]], port: int = 0, host: str = LOOPBACK[0]
) -> HttpServer:
    """Serve the page until the server is closed.

    Args:
        figures: asked for each `/figures.json`.
        port: 0 takes a free one.
        host: the address to listen on. On another than loopback's any name is answered.

    Raises:
        OSError: the port is taken, or the address is none of this machine's.
    """

    def answer(request: Request) -> Response:
        # a web page whose host name points at this machine (DNS rebinding) must not read this
        named = urlsplit(f"//{request.headers.get('host', '')}").hostname
        if host in LOOPBACK and named not in LOOPBACK:
            return Response(421)
        if request.method != "GET":
            return Response(405, headers={"Allow": "GET"})
        if request.path == "/figures.json":
            answered = Response.of_json(figures())
            return Response(200, answered.body, answered.content_type, _HEADERS)
        if request.path not in _FILES:
            return Response(404)
        name, content_type = _FILES[request.path]
        return Response(200, (_STATIC / name).read_bytes(), content_type, _HEADERS)

    return HttpServer(answer, port=port, host=host)
