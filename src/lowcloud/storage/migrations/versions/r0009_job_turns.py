"""An index by which the accounts with queued jobs, and the oldest job of each, are found without reading the others."""

from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.drop_index("ix_jobs_kind", "jobs")
    op.create_index("ix_jobs_kind", "jobs", ["kind", "state", "account_id", "created_at", "position"])
