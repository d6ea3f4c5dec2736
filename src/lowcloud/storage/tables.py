"""The tables, as the newest migration leaves them. Times are seconds since 1970; a test compares the two."""

from sqlalchemy import Column, Double, Index, Integer, MetaData, String, Table, Text

REVISION = "0002"  # the newest migration

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
    }
)

# ``hash`` is the SHA-256 of the token in hex: the token itself is nowhere. ``permissions`` are names, one a line.
tokens = Table(
    "tokens",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("name", String(120), nullable=False),
    Column("hash", String(64), nullable=False, unique=True),
    Column("account_id", String(32), nullable=False, index=True),
    Column("permissions", String(2000), nullable=False),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double),
    Column("revoked_at", Double),
)

# ``position`` is their order; ``metadata`` (an object of strings), ``messages`` and ``answer`` are JSON.
completions = Table(
    "completions",
    metadata,
    Column("position", Integer, primary_key=True),
    Column("id", String(64), nullable=False, unique=True),
    Column("account_id", String(200), nullable=False),
    Column("created_at", Double, nullable=False),
    Column("model", String(200), nullable=False),
    Column("metadata", Text, nullable=False),
    Column("messages", Text, nullable=False),
    Column("answer", Text, nullable=False),
    Column("size_bytes", Integer, nullable=False),
    Index("ix_completions_account_id", "account_id", "position"),
)
