"""A stand-in for GreptimeDB: its OTLP metrics endpoint and its SQL endpoint, on top of DuckDB.

For the demo and the tests. It keeps the rules of GreptimeDB that decide whether what was sent can
be found again, as its releases 1.1 to 1.3 have them:

- `POST /v1/otlp/v1/metrics`: protobuf only, compressed or not, 64 MiB at most, Basic credentials,
  the database's header, the statuses of each refusal, and in the answer what the write cost;
- one table for each metric, its name with the unit's word and `total` (`naming`), histograms and
  summaries as Prometheus lays them out, exponential histograms dropped;
- tags from promoted resource attributes (named, or all but those named), on request a scope's, and
  data point attributes, the rest dropped silently; the four translation strategies;
- milliseconds; of the same tags and the same millisecond the last write stays;
- two histograms of one name in one request overwrite each other;
- a request for tables that SQL made is written in the older way; if OTLP made others, it is a 500;
- `POST /v1/sql`, with GreptimeDB's answers.

What it does not have: PromQL, GreptimeDB's own SQL (DuckDB's is spoken: no `TIME INDEX`, no
`ALTER DATABASE`; a database is a schema), users with different rights, `br` and `zstd`. Names that
differ only in case are one name to DuckDB: where a request has two such, it is refused.

    with GreptimeDB(username="relay", password="secret") as db:
        post_metrics(db.url + "/v1/otlp/v1/metrics")
        db.sql("SELECT model, greptime_value FROM relay_model_requests")
"""

from local.greptimedb.server import GreptimeDB, Received

__all__ = ["GreptimeDB", "Received"]
