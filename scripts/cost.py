"""The bill: what the stack costs a month, and what GreptimeCloud's metering makes of its rows.

    python -m scripts.cost              write the tables of docs/cost.md
    python -m scripts.cost --measure    … after measuring anew what a run uses

Prices are AWS's list prices in us-east-1, on demand, without the free tier.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from relay_metrics.redrive import delay_s
from scripts.cost_measurement import Measured, Used, measure

FILE: Final = Path(__file__).parents[1] / "docs" / "cost.md"

PRICED: Final = "June 2026"
HOURS: Final = 730
"""A month, as AWS counts it."""
RUNS: Final = HOURS * 60
SECONDS: Final = HOURS * 3600

# -- what the template's defaults say -------------------------------------------------------------

MEMORY_MB: Final = 256
SECRET_MAX_AGE_S: Final = 300
RETENTION_DAYS: Final = 30
RELAY_CONCURRENCY: Final = 16
PUSH_TIMEOUT_S: Final = 5
ALARM_METRICS: Final = 12
CUSTOM_METRICS: Final = 2

# -- what is known of AWS -------------------------------------------------------------------------

MORE_MEMORY_MB: Final = 1024
"""The second memory size in the table of more keys."""
MB_OF_A_PROCESSOR: Final = 1769
"""The memory with which a function has one processor; the share is proportional to the memory."""
POLLERS: Final = 5
"""Pollers of an idle queue. With a maximum concurrency Lambda does not reduce them to two."""
POLL_S: Final = 20
"""Seconds of a long poll of an empty queue."""
KMS_REUSE_S: Final = 300
"""Seconds for which SQS uses a data key."""

# -- what is assumed ------------------------------------------------------------------------------

STARTS: Final = HOURS
"""New environments a month. Lambda does not document how long it keeps one; one an hour is a high
estimate."""
CONNECT_S: Final = 0.1
"""Seconds for TCP and TLS to the relay or the database; idle connections are mostly closed."""
ANSWER_S: Final = 0.15
"""Seconds from a request to its answer, for the relay and the database."""
HANDSHAKE_CPU_S: Final = 0.003
"""Processor time of a TLS handshake, which the measurement does not include."""
HANDSHAKE_BYTES: Final = 1000
"""Bytes sent in a TLS handshake."""
SLOWER: Final = 1.5
"""How much slower Lambda's arm64 processor is than the measured one; a high estimate."""


@dataclass(frozen=True, slots=True)
class Price:
    """USD for `per` of a unit, and the AWS page with the price."""

    usd: float
    per: int
    unit: str
    page: str

    def of(self, quantity: float) -> float:
        """USD for a quantity.

        >>> PRICES["requests"].of(1_000_000)
        0.2
        """
        return self.usd * quantity / self.per


_LAMBDA, _CLOUDWATCH, _SECRETS = "AWS Lambda", "Amazon CloudWatch", "AWS Secrets Manager"
MILLION: Final = 1_000_000

PRICES: Final = {
    "duration": Price(0.0000133334, 1, "GB-second", _LAMBDA),
    "requests": Price(0.20, MILLION, "request", _LAMBDA),
    "scheduler": Price(1.00, MILLION, "invocation", "Amazon EventBridge"),
    "secret": Price(0.40, 1, "secret", _SECRETS),
    "secret calls": Price(0.05, 10_000, "API call", _SECRETS),
    "sqs": Price(0.40, MILLION, "request", "Amazon SQS"),
    "logs": Price(0.50, 1, "GB", _CLOUDWATCH),
    "log storage": Price(0.03, 1, "GB", _CLOUDWATCH),
    "transfer": Price(0.09, 1, "GB", "Amazon EC2 On-Demand"),
    "alarm": Price(0.10, 1, "alarm metric", _CLOUDWATCH),
    "metric": Price(0.30, 1, "metric", _CLOUDWATCH),
    "dashboard": Price(3.00, 1, "dashboard", _CLOUDWATCH),
    "kms key": Price(1.00, 1, "key", "AWS Key Management Service"),
    "kms calls": Price(0.03, 10_000, "request", "AWS Key Management Service"),
}
"""The title of each page ends in "Pricing"."""


@dataclass(frozen=True, slots=True)
class Item:
    """A line of the bill: a quantity per month."""

    what: str
    quantity: float
    price: Price

    @property
    def usd(self) -> float:
        """The cost per month."""
        return self.price.of(self.quantity)


def usd(items: Sequence[Item]) -> float:
    """The sum of the costs."""
    return sum(item.usd for item in items)


def at_memory(cpu_s: float, memory_mb: int = MEMORY_MB) -> float:
    """Seconds that measured processor time takes in Lambda, with its share of a processor.

    >>> round(at_memory(1.0, 1769), 2), round(at_memory(1.0, 256), 2)
    (1.5, 10.37)
    """
    return cpu_s * SLOWER * max(1.0, MB_OF_A_PROCESSOR / memory_mb)


def billed_s(used: Used, memory_mb: int = MEMORY_MB) -> float:
    """Billed seconds of a warm run: the time that it waits, and the time that it computes."""
    rounds = math.ceil(used.relay_requests / RELAY_CONCURRENCY)
    waits = 2 * CONNECT_S + (rounds + math.ceil(used.pushes)) * ANSWER_S
    return waits + at_memory(used.cpu_s + connections(used) * HANDSHAKE_CPU_S, memory_mb)


def duration_usd(used: Used, memory_mb: int) -> float:
    """The cost of the duration of a month's warm runs with `memory_mb`."""
    return PRICES["duration"].of(RUNS * billed_s(used, memory_mb) * memory_mb / 1024)


def connections(used: Used) -> int:
    """The most connections that a run opens: one for each concurrent request and each push."""
    return math.ceil(min(used.relay_requests, RELAY_CONCURRENCY) + used.pushes)


def stack(used: Used) -> list[Item]:
    """The default stack: one schedule, once a minute, nothing spooled."""
    gigabytes = RUNS * used.log_bytes / 1e9
    sent = RUNS * (used.bytes_out + connections(used) * HANDSHAKE_BYTES) / 1e9
    memory_gb = MEMORY_MB / 1024
    return [
        Item("a secret", 1, PRICES["secret"]),
        Item(
            "… read by the functions", SECONDS / SECRET_MAX_AGE_S + STARTS, PRICES["secret calls"]
        ),
        Item("the spool, polled by Lambda", POLLERS * SECONDS / POLL_S, PRICES["sqs"]),
        Item("the schedule", RUNS, PRICES["scheduler"]),
        Item("the collector's runs", RUNS, PRICES["requests"]),
        Item("… their duration", RUNS * billed_s(used) * memory_gb, PRICES["duration"]),
        Item(
            "… new environments",
            STARTS * at_memory(used.start_cpu_s) * memory_gb,
            PRICES["duration"],
        ),
        Item("the collector's log", gigabytes, PRICES["logs"]),
        Item("… kept", gigabytes * RETENTION_DAYS * 24 / HOURS, PRICES["log storage"]),
        Item("what is sent to the internet", sent, PRICES["transfer"]),
    ]


def alarms() -> list[Item]:
    """The cost of the alarms, in a month with a failure in every hour."""
    return [
        Item("the alarms", ALARM_METRICS, PRICES["alarm"]),
        Item("our metrics, at most", CUSTOM_METRICS, PRICES["metric"]),
    ]


def outage(used: Used) -> list[Item]:
    """The most that a day adds on which the database does not answer at all.

    Each run waits for the push's time-out and spools one message. Each message is retried by the
    redriver's rule, in an invocation of its own that waits and logs as much.
    """
    day_s = 24 * 3600
    messages = day_s // 60
    tries = sum(_tries(day_s - 60 * minute) for minute in range(messages))
    memory_gb = MEMORY_MB / 1024
    waited = (messages + tries) * PUSH_TIMEOUT_S * memory_gb
    # each message is sent, received and deleted once; each try receives and postpones it
    return [
        Item("tries of the redriver", tries, PRICES["requests"]),
        Item("… and of the collector, their duration", waited, PRICES["duration"]),
        Item("messages, sent and received", 3 * messages + 2 * tries, PRICES["sqs"]),
        Item("the redriver's log", tries * used.log_bytes / 1e9, PRICES["logs"]),
    ]


def _tries(seconds: int) -> int:
    """How often a message is tried in an outage of `seconds`."""
    count = 0
    while seconds > 0:
        count += 1
        seconds -= delay_s(count, 0)
    return count


def key() -> list[Item]:
    """The cost of a KMS key of the account."""
    reads = SECONDS / SECRET_MAX_AGE_S + STARTS
    # by SQS's formula: for each new data key twice for a sender, once for a receiver
    queue = SECONDS / KMS_REUSE_S * 3
    return [
        Item("a KMS key of yours", 1, PRICES["kms key"]),
        Item("… used", reads + STARTS + queue, PRICES["kms calls"]),
    ]


# -- GreptimeCloud --------------------------------------------------------------------------------

SMALL_PLAN_UNITS_A_S: Final = 20
CADENCES: Final = (1, 2, 3, 5, 10, 15, 20, 30, 60)
"""Minutes that divide the hour."""


def units_a_second(used: Used, minutes: int = 1) -> float:
    """Average write units per second, by the most expensive way of counting."""
    return used.units_by_table / (60 * minutes)


def cadence(used: Used) -> int:
    """The fewest minutes between runs that the small plan allows.

    Raises:
        StopIteration: none of an hour or less.
    """
    return next(
        minutes for minutes in CADENCES if units_a_second(used, minutes) <= SMALL_PLAN_UNITS_A_S
    )


# -- the document ---------------------------------------------------------------------------------


def blocks(measured: Measured) -> dict[str, str]:
    """The tables of docs/cost.md by name."""
    return {
        "bill": "".join(_bill(measured.by_keys[1])),
        "key": "".join(_more(key())),
        "outage": "".join(_more(outage(measured.by_keys[1]))),
        "keys": "".join(_by_keys(measured)),
        "measured": "".join(_measured(measured)),
        "greptimecloud": "".join(_greptimecloud(measured)),
    }


def _bill(used: Used) -> Iterator[str]:
    yield f"| item | a month | price, {PRICED} | page | USD |\n|---|---:|---|---|---:|\n"
    yield from map(_row, stack(used))
    yield f"| **the default stack** | | | | **{usd(stack(used)):.2f}** |\n"
    yield from map(_row, alarms())
    yield f"| **with alarms** | | | | **{usd([*stack(used), *alarms()]):.2f}** |\n"


def _more(items: Sequence[Item]) -> Iterator[str]:
    yield f"| item | quantity | price, {PRICED} | page | USD |\n|---|---:|---|---|---:|\n"
    yield from map(_row, items)
    yield f"| **together** | | | | **{usd(items):.2f}** |\n"


def _row(item: Item) -> str:
    price = item.price
    units = price.unit if price.unit == "GB" else f"{price.unit}s"
    article = "an" if price.unit[0] in "aeiou" else "a"
    per = {1: f"{article} {price.unit}", MILLION: f"a million {units}"}.get(
        price.per, f"for {price.per:,} {units}"
    )
    quantity = f"{item.quantity:,.0f}" if item.quantity >= 10 else f"{item.quantity:.3g}"
    of_units = price.unit if item.quantity == 1 else units
    amount = f"{price.usd:.10f}" if price.usd < 0.01 else f"{price.usd:.2f}"
    page = f"{price.page} Pricing"
    return f"| {item.what} | {quantity} {of_units} | {amount} {per} | {page} | {item.usd:.4f} |\n"


def _by_keys(measured: Measured) -> Iterator[str]:
    yield "| keys | billed a run | duration, USD | log, USD | sent, USD | the whole stack, USD "
    yield f"| with {MORE_MEMORY_MB:,} MB | duration, USD |\n"
    yield "|---:|---:|---:|---:|---:|---:|---:|---:|\n"
    for keys, used in measured.by_keys.items():
        by_price = {item.price: 0.0 for item in stack(used)}
        for item in stack(used):
            by_price[item.price] += item.usd
        log = by_price[PRICES["logs"]] + by_price[PRICES["log storage"]]
        yield (
            f"| {keys:,} | {billed_s(used):.2f} s | {by_price[PRICES['duration']]:.2f} | {log:.2f} "
            f"| {by_price[PRICES['transfer']]:.2f} | {usd(stack(used)):.2f} "
            f"| {billed_s(used, MORE_MEMORY_MB):.2f} s "
            f"| {duration_usd(used, MORE_MEMORY_MB):.2f} |\n"
        )


def _measured(measured: Measured) -> Iterator[str]:
    yield f"Measured on {measured.date} on {measured.machine}, Python {measured.python}.\n\n"
    yield "| keys | processor a run | extra at a start | log a run | relay requests | sent |\n"
    yield "|---:|---:|---:|---:|---:|---:|\n"
    for keys, used in measured.by_keys.items():
        yield (
            f"| {keys:,} | {1000 * used.cpu_s:,.0f} ms | {1000 * used.start_cpu_s:,.0f} ms "
            f"| {used.log_bytes:,} bytes | {used.relay_requests:.0f} | {used.bytes_out:,} bytes |\n"
        )


def _greptimecloud(measured: Measured) -> Iterator[str]:
    yield "| keys | rows a run | their bytes | units a run | units a second, once a minute "
    yield "| fits the small plan |\n|---:|---:|---:|---:|---:|---|\n"
    for keys, used in measured.by_keys.items():
        minutes = cadence(used)
        every = "rate(1 minute)" if minutes == 1 else f"rate({minutes} minutes)"
        yield (
            f"| {keys:,} | {used.rows:,} | {used.row_bytes:,} "
            f"| {used.units_by_request:,} to {used.units_by_table:,} "
            f"| {units_a_second(used):.1f} | `{every}` |\n"
        )


def marks(name: str) -> tuple[str, str]:
    """The marks before and after a table in the document."""
    return f"<!-- cost: {name} -->\n", f"<!-- /cost: {name} -->\n"


def document(text: str, measured: Measured) -> str:
    """The document with new tables.

    Raises:
        ValueError: it has no place for one of them.
    """
    for name, table in blocks(measured).items():
        begin, end = marks(name)
        before, found, rest = text.partition(begin)
        _, ended, after = rest.partition(end)
        if not (found and ended):
            raise ValueError(f"{FILE.name} has no place for the table {name!r}")
        text = f"{before}{begin}\n{table}\n{end}{after}"
    return text


def main() -> None:
    """Write the tables."""
    parser = argparse.ArgumentParser(prog="python -m scripts.cost")
    parser.add_argument("--measure", action="store_true", help="measure anew what a run uses")
    if parser.parse_args().measure:
        measure().record()
    FILE.write_text(document(FILE.read_text("utf-8"), Measured.recorded()), "utf-8")


if __name__ == "__main__":
    main()
