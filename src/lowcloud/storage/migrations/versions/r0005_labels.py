"""The metadata of stored completions with a pair a line, so that pairs are found without JSON functions."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

completions = sa.table("completions", sa.column("position", sa.Integer), sa.column("metadata", sa.Text))


def upgrade() -> None:
    connection = op.get_bind()
    for row in connection.execute(sa.select(completions)).all():
        lines = json.dumps(json.loads(row.metadata), indent=0)
        change = sa.update(completions).where(completions.c.position == row.position).values(metadata=lines)
        connection.execute(change)
