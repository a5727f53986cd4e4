"""`make demo-serve` where it does not come to serve, and the page where others may see it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
import requests

from local.page import serve_page
from tests import ROOT

GUARD_S = 120


def serve(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "local.serve", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.parametrize("port", ["80000", "-1"])
def test_a_port_that_cannot_be_is_said_in_one_sentence(port: str) -> None:
    out, err = (process := serve(f"--port={port}")).communicate(timeout=GUARD_S)
    assert process.returncode == 1
    assert out == ""
    said = f"make demo-serve failed: --port {port}: a port is a number from 0 to 65535"
    assert err.strip().splitlines() == [said]


def test_an_interrupt_while_it_starts_ends_it_in_one_sentence() -> None:
    process = serve("--port=0")
    assert process.stdout is not None
    first = process.stdout.readline()
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=GUARD_S)
    assert (process.returncode, err) == (0, "")
    assert first.startswith("Starting")
    assert out.strip().splitlines()[-1] == "everything that was started has ended"


def test_on_another_address_the_page_is_answered_by_any_name() -> None:
    for host, status in (("127.0.0.1", 421), ("127.0.0.2", 200)):
        with serve_page(dict, host=host) as server:
            assert server.url.startswith(f"http://{host}:")
            named = {"Host": "host.docker.internal"}
            assert requests.get(server.url, headers=named, timeout=10).status_code == status
