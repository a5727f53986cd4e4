"""relay-metrics: what LLM relays know of usage and cost, as OpenTelemetry metrics in GreptimeDB."""
