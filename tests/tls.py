"""Certificates for servers on loopback."""

from __future__ import annotations

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Certified:
    """A server's side of TLS, and the certificate that a client has to trust."""

    context: ssl.SSLContext
    pem: str


def certified(folder: Path, host: str = "localhost") -> Certified:
    """A certificate for a host, signed by itself. Its files are put into the folder."""
    key, certificate = folder / f"{host}.key.pem", folder / f"{host}.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "1", "-subj", f"/CN={host}"]
    command += ["-addext", f"subjectAltName=DNS:{host}"]
    command += ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return Certified(context, certificate.read_text("ascii"))


def private_ca(folder: Path, host: str = "localhost") -> Certified:
    """A certificate for a host, signed by a CA that OpenSSL's ordinary recipe made; its `pem`."""
    at = {name: str(folder / name) for name in ("ca.key", "ca.pem", "csr", "ext", "key", "pem")}
    Path(at["ext"]).write_text(f"subjectAltName=DNS:{host}\n", "ascii")
    key, short = ["-newkey", "rsa:2048", "-nodes"], ["-days", "1"]
    signed = ["-CA", at["ca.pem"], "-CAkey", at["ca.key"], "-CAcreateserial"]
    for command in (
        ["req", "-x509", *key, *short, "-subj", "/CN=CA", "-keyout", at["ca.key"]],
        ["req", *key, "-subj", f"/CN={host}", "-keyout", at["key"]],
        ["x509", "-req", "-in", at["csr"], *signed, *short, "-extfile", at["ext"]],
    ):
        out = {"-x509": at["ca.pem"], "-newkey": at["csr"], "-req": at["pem"]}[command[1]]
        command += ["-out", out]
        subprocess.run(["openssl", *command], check=True, capture_output=True, timeout=60)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(at["pem"], at["key"])
    return Certified(context, Path(at["ca.pem"]).read_text("ascii"))
