"""An index that has the sizes of jobs, so that adding them up reads no job."""

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_index("ix_jobs_account_id_state", "jobs", ["account_id", "state", "group_id", "size_bytes"])
