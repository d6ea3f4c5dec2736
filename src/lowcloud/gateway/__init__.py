"""AI Gateway: cache, limits, retries, fallbacks, logs and cost in front of calls to any provider."""
