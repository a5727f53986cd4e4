"""relay-metrics: what LLM relays know of usage and cost, as OpenTelemetry metrics in GreptimeDB."""

import gc

# Imports make some 100,000 objects and so does a run, and hardly a cycle: to look for one at every
# 700th took a fifth of the time of converting and encoding.
gc.set_threshold(10_000)
