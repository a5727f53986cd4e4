"""`make check`: does the relay answer, does the database accept? The check event, without AWS."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import textwrap
from typing import Any, Final

from local.stack import CREDENTIALS, ROOT, Stack

EVENT: Final = ROOT / "events" / "check.json"
EPILOG: Final = """\
examples:
  make check RELAY_BASE_URL=https://relay.example.com RELAY_API_ID=…
  make check RELAY_BASE_URL=https://relay.example.com RELAY_KIND=wyolet-relay \\
    OTEL_EXPORT_URL=https://greptimedb.example.com GREPTIME_USERNAME=… GREPTIME_PASSWORD=…

What is not given is simulated on this machine. `make demo ARGS=--help` lists the variables.
Nothing is written anywhere. The exit code is 0 where all is well, 1 where something is not, 2 where
the check could not be run at all.
"""


def main() -> int:
    """Run the check and print its findings; the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m local.check",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.parse_args()
    try:
        with Stack(os.environ, announce=lambda line: print(f"  {line}")) as stack:
            result = stack.collector.invoke(json.loads(EVENT.read_text("utf-8")))
    except (OSError, RuntimeError, ValueError) as error:
        print(f"make check: {error}", file=sys.stderr)
        return 2
    if result.error is not None:
        print(f"The check failed: {_in_variables(result.error.message)}", file=sys.stderr)
        return 1
    print()
    for finding in result.payload["findings"]:
        if finding["target"] != "secret" or not finding["ok"]:  # it was made of the variables
            _show(finding)
    print("\nAll is well." if result.payload["ok"] else "\nNot all is well: see → above.")
    return 0 if result.payload["ok"] else 1


def _show(finding: dict[str, Any]) -> None:
    print(f"{'✓' if finding['ok'] else '✗'} {finding['target']}")
    indent = "    "
    message, hint = _in_variables(finding["message"]), _in_variables(finding["hint"] or "")
    print(textwrap.fill(message, 96, initial_indent=indent, subsequent_indent=indent))
    if hint:
        print(textwrap.fill(hint, 96, initial_indent="  → ", subsequent_indent=indent))


def _in_variables(text: str) -> str:
    """A sentence on the secret as one on the variables that it was made of.

    >>> _in_variables("the secret has no credential for the relay: give relay_api_id")
    'there is no credential for the relay: give RELAY_API_ID'
    """
    for variable, key in CREDENTIALS.items():
        text = re.sub(rf"\b{key}\b", variable, text)
    for said, instead in (
        (r"(, or base_url( and metrics_path)?)? in the secret|, or take it out of the secret", ""),
        (r"the secret has (no|a)\b", r"there is \1"),
        (r"they belong into the secret", "they belong into variables of their own"),
        (r"\b(?:headers|admin_token) \((RELAY_\w+)\)", r"\1"),
    ):
        text = re.sub(said, instead, text)
    return text


if __name__ == "__main__":
    sys.exit(main())
