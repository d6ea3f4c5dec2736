"""The tables, as the newest migration leaves them. Times are seconds since 1970; a test compares the two."""

from sqlalchemy import (
    BigInteger,
    Column,
    Dialect,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)
from sqlalchemy.types import TypeDecorator

REVISION = "0007"  # the newest migration


class Name(TypeDecorator[str]):
    """Text from outside: what is over ``length`` is cut, and NUL, which PostgreSQL can't store, shown."""

    impl = String
    cache_ok = True

    def __init__(self, length: int) -> None:
        super().__init__(length)
        self.length = length

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002 - its signature
        return None if value is None else value[: self.length].replace("\0", "\N{SYMBOL FOR NULL}")


metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
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

# ``position`` is their order; ``metadata`` (an object of strings, a pair a line), ``messages`` and ``answer`` are JSON.
completions = Table(
    "completions",
    metadata,
    Column("position", Integer, primary_key=True),
    Column("id", Name(64), nullable=False, unique=True),
    Column("account_id", Name(200), nullable=False),
    Column("created_at", Double, nullable=False),
    Column("model", Name(200), nullable=False),
    Column("metadata", Text, nullable=False),
    Column("messages", Text, nullable=False),
    Column("answer", Text, nullable=False),
    Column("size_bytes", Integer, nullable=False),
    Index("ix_completions_account_id", "account_id", "position"),
)

# ``day`` is UTC's, YYYY-MM-DD; ``model`` is what was asked for, ``answered_by`` what answered.
usage = Table(
    "usage",
    metadata,
    Column("account_id", Name(200), primary_key=True),
    Column("day", String(10), primary_key=True, index=True),
    Column("model", Name(200), primary_key=True),
    Column("answered_by", Name(200), primary_key=True),
    Column("requests", BigInteger, nullable=False),
    Column("failed", BigInteger, nullable=False),
    Column("client_gone", BigInteger, nullable=False),
    Column("prompt_tokens", BigInteger, nullable=False),
    Column("cached_tokens", BigInteger, nullable=False),
    Column("completion_tokens", BigInteger, nullable=False),
    Column("neurons", Double, nullable=False),
)

# ``attempts`` are starts; the newest one holds the lease, until ``lease_until``. ``payload`` goes when a job ends;
# ``payload``, ``result`` and ``external_reference`` are JSON.
jobs = Table(
    "jobs",
    metadata,
    Column("id", Name(80), primary_key=True),
    Column("kind", String(64), nullable=False),
    Column("account_id", Name(200), nullable=False),
    Column("group_id", Name(64), nullable=False),
    Column("position", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("lease_until", Double),
    Column("created_at", Double, nullable=False),
    Column("finished_at", Double),
    Column("expires_at", Double, nullable=False, index=True),
    Column("size_bytes", BigInteger, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("external_reference", Text, nullable=False),
    Column("error_code", String(64)),
    Column("error_message", Name(2000)),
    Column("payload", Text, nullable=False),
    Column("result", Text),
    Index("ix_jobs_kind", "kind", "state", "created_at", "position"),
    Index("ix_jobs_account_id", "account_id", "group_id", "position", unique=True),
    Index("ix_jobs_account_id_state", "account_id", "state", "group_id", "size_bytes"),
)

# ``head`` and ``pieces`` are JSON; ``size_bytes`` are those of the row and of those that list its items.
responses = Table(
    "responses",
    metadata,
    Column("id", Name(64), primary_key=True),
    Column("account_id", Name(200), nullable=False),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False, index=True),
    Column("status", String(16), nullable=False),
    Column("model", Name(200), nullable=False),
    Column("conversation_id", Name(64)),
    Column("size_bytes", BigInteger, nullable=False),
    Column("head", Text, nullable=False),
    Column("pieces", Text, nullable=False),
    Index("ix_responses_account_id", "account_id", "created_at", "size_bytes"),
)

# Immutable. ``key`` is ours, ``id`` the wire's, which two may share; ``body`` is JSON. ``unlisted_at`` is when a
# response or a conversation last ceased to list it: whether another still does is looked up later.
items = Table(
    "items",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("id", Name(64), nullable=False),
    Column("account_id", Name(200), nullable=False),
    Column("created_at", Double, nullable=False),
    Column("unlisted_at", Double, index=True),
    Column("size_bytes", BigInteger, nullable=False),
    Column("body", Text, nullable=False),
    Index("ix_items_account_id", "account_id", "id"),
    Index("ix_items_account_id_size_bytes", "account_id", "size_bytes"),
)

# ``part`` is context, input or output, and ``position`` counts through all three: the key's order is theirs.
response_items = Table(
    "response_items",
    metadata,
    Column("response_id", Name(64), primary_key=True),
    Column("part", String(8), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("item_key", String(64), ForeignKey("items.key"), nullable=False, index=True),
    sqlite_with_rowid=False,
)

# ``metadata`` is JSON; ``n_items`` and ``size_bytes`` are of the items that it lists.
conversations = Table(
    "conversations",
    metadata,
    Column("id", Name(64), primary_key=True),
    Column("account_id", Name(200), nullable=False),
    Column("created_at", Double, nullable=False),
    Column("metadata", Text, nullable=False),
    Column("locked_by", Name(64)),
    Column("locked_until", Double),
    Column("n_items", Integer, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Index("ix_conversations_account_id", "account_id", "size_bytes"),
)

conversation_items = Table(
    "conversation_items",
    metadata,
    Column("conversation_id", Name(64), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("item_key", String(64), ForeignKey("items.key"), nullable=False, index=True),
    sqlite_with_rowid=False,
)
