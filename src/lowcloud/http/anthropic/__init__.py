"""Anthropic's Messages format over the same events."""
