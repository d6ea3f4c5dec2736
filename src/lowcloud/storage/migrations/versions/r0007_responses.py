"""Responses and conversations, and the items that they list."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    _responses()
    _items()
    _conversations()
    _lists()


def _responses() -> None:
    op.create_table(
        "responses",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("account_id", sa.String(200), nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("expires_at", sa.Double, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("model", sa.String(200), nullable=False),
        sa.Column("conversation_id", sa.String(64)),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("head", sa.Text, nullable=False),
        sa.Column("pieces", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_responses"),
    )
    op.create_index("ix_responses_account_id", "responses", ["account_id", "created_at", "size_bytes"])
    op.create_index("ix_responses_expires_at", "responses", ["expires_at"])


def _items() -> None:
    op.create_table(
        "items",
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("account_id", sa.String(200), nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("unlisted_at", sa.Double),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_items"),
    )
    op.create_index("ix_items_account_id", "items", ["account_id", "id"])
    op.create_index("ix_items_account_id_size_bytes", "items", ["account_id", "size_bytes"])
    op.create_index("ix_items_unlisted_at", "items", ["unlisted_at"])


def _conversations() -> None:
    op.create_table(
        "conversations",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("account_id", sa.String(200), nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("metadata", sa.Text, nullable=False),
        sa.Column("locked_by", sa.String(64)),
        sa.Column("locked_until", sa.Double),
        sa.Column("n_items", sa.Integer, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_conversations"),
    )
    op.create_index("ix_conversations_account_id", "conversations", ["account_id", "size_bytes"])


def _lists() -> None:
    op.create_table(
        "response_items",
        sa.Column("response_id", sa.String(64), nullable=False),
        sa.Column("part", sa.String(8), nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("item_key", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("response_id", "part", "position", name="pk_response_items"),
        sa.ForeignKeyConstraint(["item_key"], ["items.key"], name="fk_response_items_item_key"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_response_items_item_key", "response_items", ["item_key"])
    op.create_table(
        "conversation_items",
        sa.Column("conversation_id", sa.String(64), nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("item_key", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("conversation_id", "position", name="pk_conversation_items"),
        sa.ForeignKeyConstraint(["item_key"], ["items.key"], name="fk_conversation_items_item_key"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_conversation_items_item_key", "conversation_items", ["item_key"])
