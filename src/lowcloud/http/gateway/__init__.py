"""The AI Gateway over HTTP: its URLs, the header, the management API."""
