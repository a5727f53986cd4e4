"""relay-metrics: usage and cost of LLM relays as OpenTelemetry metrics in GreptimeDB."""

import gc

# The imports and a run create some 100,000 objects each, and hardly any reference cycle. With the
# default threshold of 700, garbage collection took a fifth of the time of converting and encoding.
gc.set_threshold(10_000)
