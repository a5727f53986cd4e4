"""A server on loopback that sends what a test wants, byte by byte."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

HANG_S = 20
"""A test that takes this long has found a hang."""


@contextmanager
def raw_server(
    serve: Callable[[socket.socket], object], tls: ssl.SSLContext | None = None
) -> Iterator[str]:
    """A server that speaks no HTTP of itself: `serve` is given each connection."""
    listener = socket.create_server(("127.0.0.1", 0))

    def handle(connection: socket.socket) -> None:
        with connection:
            connection.settimeout(HANG_S)
            try:
                if tls:
                    with tls.wrap_socket(connection, server_side=True) as secured:
                        serve(secured)
                else:
                    serve(connection)
            except OSError:
                return  # the client left, which is what most of these tests are about

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=handle, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        origin = "https://localhost" if tls else "http://127.0.0.1"
        yield f"{origin}:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)
