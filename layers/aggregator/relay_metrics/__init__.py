"""relay-metrics: usage and cost of LLM relays as OpenTelemetry metrics in GreptimeDB."""

import gc
import sys

# The imports and a run create some 100,000 objects each, and hardly any reference cycle. With the
# default threshold of 700, garbage collection took a fifth of the time of converting and encoding.
gc.set_threshold(10_000)

# A thread that has got an answer waits for the one that converts by at most this many seconds. With
# the default of 5 ms, requests under way beside converting took a tenth longer.
sys.setswitchinterval(0.0005)
