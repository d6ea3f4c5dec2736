"""Logs have whole milliseconds, as they are shown, so that filters find what is seen."""

from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.execute("UPDATE gateway_logs SET created_at = round(created_at * 1000) / 1000, duration_ms = round(duration_ms)")
