"""The tables, as the newest migration leaves them. Times are seconds since 1970; a test compares the two."""

from hashlib import sha256
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)
from sqlalchemy.sql.operators import OperatorType
from sqlalchemy.types import TypeDecorator, TypeEngine

REVISION = "0010"  # the newest migration
MAX_COUNT = 2**53 - 1  # what every reader of JSON has exactly


class Prose(TypeDecorator[str]):
    """Text from outside: NUL, which PostgreSQL can't store, is shown, and half of a surrogate pair, which no database
    can, is a question mark."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002 - its signature
        return self.stored(value)

    def stored(self, value: str | None) -> str | None:
        """As the database has it."""
        return None if value is None else storable(value)


_SOUGHT = Prose()


class Name(TypeDecorator[str]):
    """Text from outside, as Prose, cut at ``length`` where it is stored. What is looked for isn't cut: nothing is equal
    to what is longer than the column."""

    impl = String
    cache_ok = True

    def __init__(self, length: int) -> None:
        super().__init__(length)
        self.length = length

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002 - its signature
        return self.stored(value)

    def stored(self, value: str | None) -> str | None:
        """As the database has it."""
        if value is None or (len(value) <= self.length and value.isascii() and "\0" not in value):
            return value
        return storable(value[: self.length])

    def coerce_compared_value(self, op: OperatorType | None, value: Any) -> TypeEngine[Any]:  # noqa: ARG002 - its signature
        """As what a value is compared with this."""
        return _SOUGHT


class WireId(Name):
    """A Name of which no two that differ are stored as one: of what is too long the end is a digest of all of it, also
    where it is looked for."""

    cache_ok = True

    def stored(self, value: str | None) -> str | None:
        """As the database has it."""
        if value is None or len(value) <= self.length:
            return super().stored(value)
        digest = sha256(value.encode("utf-8", "surrogatepass")).hexdigest()[: self.length // 2]
        return super().stored(value[: self.length - len(digest)] + digest)

    def coerce_compared_value(self, op: OperatorType | None, value: Any) -> TypeEngine[Any]:  # noqa: ARG002 - its signature
        """As what a value is compared with this."""
        return self


class Count(TypeDecorator[int]):
    """A number from outside: what is beyond the column's bounds is the bound."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: int | None, dialect: Dialect) -> int | None:  # noqa: ARG002 - its signature
        return self.stored(value)

    def stored(self, value: int | None) -> int | None:
        """As the database has it."""
        return None if value is None else max(-MAX_COUNT, min(value, MAX_COUNT))


def storable(text: str) -> str:
    """The text as either database can have it."""
    text = text.replace("\0", "\N{SYMBOL FOR NULL}")
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


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
    Index("ix_jobs_kind", "kind", "state", "account_id", "created_at", "position"),
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

ITEM_ID = WireId(64)

# Immutable. ``key`` is ours, ``id`` the wire's, which two may share; ``body`` is JSON. ``unlisted_at`` is when a
# response or a conversation last ceased to list it: whether another still does is looked up later.
items = Table(
    "items",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("id", ITEM_ID, nullable=False),
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

# ``config`` is JSON. ``generation`` only goes up, also where a gateway of the same id was there before.
gateways = Table(
    "gateways",
    metadata,
    Column("account_id", Name(200), primary_key=True),
    Column("id", Name(64), primary_key=True),
    Column("config", Prose, nullable=False),
    Column("generation", BigInteger, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("modified_at", Double, nullable=False),
    Column("is_default", Boolean, nullable=False),
    sqlite_with_rowid=False,
)

# ``about`` is JSON.
custom_providers = Table(
    "custom_providers",
    metadata,
    Column("id", Name(64), primary_key=True),
    Column("account_id", Name(200), nullable=False),
    Column("slug", Name(64), nullable=False),
    Column("name", Name(200), nullable=False),
    Column("base_url", Name(2000), nullable=False),
    Column("about", Prose, nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("modified_at", Double, nullable=False),
    Index("ix_custom_providers_account_id", "account_id", "slug", unique=True),
)

# ``sealed`` is ciphertext; ``preview`` is what of the key is shown.
provider_keys = Table(
    "provider_keys",
    metadata,
    Column("id", Name(64), primary_key=True),
    Column("account_id", Name(200), nullable=False),
    Column("gateway_id", Name(64), nullable=False),
    Column("provider_slug", Name(80), nullable=False),
    Column("alias", Name(64), nullable=False),
    Column("is_default", Boolean, nullable=False),
    Column("sealed", Text, nullable=False),
    Column("preview", Name(64), nullable=False),
    Column("rate_limit", Count),
    Column("rate_limit_period", Count),
    Column("created_at", Double, nullable=False),
    Column("modified_at", Double, nullable=False),
    Index("ix_provider_keys_account_id", "account_id", "gateway_id", "provider_slug", "alias", unique=True),
)

# ``metadata`` is a JSON object; ``labels`` the same with texts for values, for filters. ``size_bytes`` are those of the
# row and its bodies.
gateway_logs = Table(
    "gateway_logs",
    metadata,
    Column("id", Name(64), primary_key=True),
    Column("account_id", Name(200), nullable=False),
    Column("gateway_id", Name(64), nullable=False),
    Column("created_at", Double, nullable=False, index=True),
    Column("provider", Name(100), nullable=False),
    Column("model", Name(200), nullable=False),
    Column("model_type", Name(64), nullable=False),
    Column("path", Name(2000), nullable=False),
    Column("status_code", Count, nullable=False),
    Column("success", Boolean, nullable=False),
    Column("cached", Boolean, nullable=False),
    Column("duration_ms", Double, nullable=False),
    Column("step", Count, nullable=False),
    Column("tokens_in", Count),
    Column("tokens_out", Count),
    Column("cost", Double),
    Column("custom_cost", Boolean, nullable=False),
    Column("metadata", Prose, nullable=False),
    Column("request_type", Name(64), nullable=False),
    Column("request_content_type", Name(200), nullable=False),
    Column("response_content_type", Name(200), nullable=False),
    Column("request_size", Count, nullable=False),
    Column("request_head", Name(1024), nullable=False),
    Column("request_head_complete", Boolean, nullable=False),
    Column("response_size", Count, nullable=False),
    Column("response_head", Name(1024), nullable=False),
    Column("response_head_complete", Boolean, nullable=False),
    Column("event_id", Name(200), nullable=False),
    Column("feedback", Count),
    Column("score", Double),
    Column("user_agent", Name(500), nullable=False),
    Column("authentication", Boolean, nullable=False),
    Column("wholesale", Boolean, nullable=False),
    Column("compatibility_mode", Boolean, nullable=False),
    Column("dlp_action", Name(64), nullable=False),
    Column("labels", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Index("ix_gateway_logs_account_id", "account_id", "gateway_id", "created_at", "id"),
)

# No row: neither is kept.
gateway_log_bodies = Table(
    "gateway_log_bodies",
    metadata,
    Column("log_id", Name(64), primary_key=True),
    Column("request", LargeBinary),
    Column("response", LargeBinary),
)

# What a gateway's logs are together, kept right by those who add and remove some.
gateway_log_counts = Table(
    "gateway_log_counts",
    metadata,
    Column("account_id", Name(200), primary_key=True),
    Column("gateway_id", Name(64), primary_key=True),
    Column("n_logs", BigInteger, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# ``headers`` are JSON; ``size_bytes`` are those of the row.
gateway_cache = Table(
    "gateway_cache",
    metadata,
    Column("account_id", Name(200), primary_key=True),
    Column("gateway_id", Name(64), primary_key=True),
    Column("key", Name(64), primary_key=True),
    Column("status", Integer, nullable=False),
    Column("headers", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False, index=True),
    Column("size_bytes", BigInteger, nullable=False),
    Index("ix_gateway_cache_account_id", "account_id", "created_at", "size_bytes"),
)

# ``key`` is a hash of ``rule_id`` and ``bucket``; ``bucket`` is a JSON string, ``amounts`` JSON.
gateway_spend = Table(
    "gateway_spend",
    metadata,
    Column("account_id", Name(200), primary_key=True),
    Column("gateway_id", Name(64), primary_key=True),
    Column("key", String(64), primary_key=True),
    Column("rule_id", Name(64), nullable=False),
    Column("bucket", Text, nullable=False),
    Column("amounts", Text, nullable=False),
    Column("updated_at", Double, nullable=False, index=True),
    sqlite_with_rowid=False,
)
