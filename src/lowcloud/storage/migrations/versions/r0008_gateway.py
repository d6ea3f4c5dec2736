"""The AI Gateway: its gateways and keys, what it logs, what it has cached and what has been spent."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    _gateways()
    _logs()
    _bodies_and_counts()
    _cache_and_spend()


def _gateways() -> None:
    op.create_table(
        "gateways",
        sa.Column("account_id", sa.String(200), nullable=False),
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("config", sa.Text, nullable=False),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("modified_at", sa.Double, nullable=False),
        sa.Column("is_default", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("account_id", "id", name="pk_gateways"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "custom_providers",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("account_id", sa.String(200), nullable=False),
        sa.Column("slug", sa.String(64), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("base_url", sa.String(2000), nullable=False),
        sa.Column("about", sa.Text, nullable=False),
        sa.Column("enabled", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("modified_at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_custom_providers"),
    )
    op.create_index("ix_custom_providers_account_id", "custom_providers", ["account_id", "slug"], unique=True)
    op.create_table(
        "provider_keys",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("account_id", sa.String(200), nullable=False),
        sa.Column("gateway_id", sa.String(64), nullable=False),
        sa.Column("provider_slug", sa.String(80), nullable=False),
        sa.Column("alias", sa.String(64), nullable=False),
        sa.Column("is_default", sa.Boolean, nullable=False),
        sa.Column("sealed", sa.Text, nullable=False),
        sa.Column("preview", sa.String(64), nullable=False),
        sa.Column("rate_limit", sa.BigInteger),
        sa.Column("rate_limit_period", sa.BigInteger),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("modified_at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_provider_keys"),
    )
    op.create_index(
        "ix_provider_keys_account_id",
        "provider_keys",
        ["account_id", "gateway_id", "provider_slug", "alias"],
        unique=True,
    )


def _logs() -> None:
    op.create_table(
        "gateway_logs",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("account_id", sa.String(200), nullable=False),
        sa.Column("gateway_id", sa.String(64), nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("provider", sa.String(100), nullable=False),
        sa.Column("model", sa.String(200), nullable=False),
        sa.Column("model_type", sa.String(64), nullable=False),
        sa.Column("path", sa.String(2000), nullable=False),
        sa.Column("status_code", sa.BigInteger, nullable=False),
        sa.Column("success", sa.Boolean, nullable=False),
        sa.Column("cached", sa.Boolean, nullable=False),
        sa.Column("duration_ms", sa.Double, nullable=False),
        sa.Column("step", sa.BigInteger, nullable=False),
        sa.Column("tokens_in", sa.BigInteger),
        sa.Column("tokens_out", sa.BigInteger),
        sa.Column("cost", sa.Double),
        sa.Column("custom_cost", sa.Boolean, nullable=False),
        sa.Column("metadata", sa.Text, nullable=False),
        sa.Column("request_type", sa.String(64), nullable=False),
        sa.Column("request_content_type", sa.String(200), nullable=False),
        sa.Column("response_content_type", sa.String(200), nullable=False),
        sa.Column("request_size", sa.BigInteger, nullable=False),
        sa.Column("request_head", sa.String(1024), nullable=False),
        sa.Column("request_head_complete", sa.Boolean, nullable=False),
        sa.Column("response_size", sa.BigInteger, nullable=False),
        sa.Column("response_head", sa.String(1024), nullable=False),
        sa.Column("response_head_complete", sa.Boolean, nullable=False),
        sa.Column("event_id", sa.String(200), nullable=False),
        sa.Column("feedback", sa.BigInteger),
        sa.Column("score", sa.Double),
        sa.Column("user_agent", sa.String(500), nullable=False),
        sa.Column("authentication", sa.Boolean, nullable=False),
        sa.Column("wholesale", sa.Boolean, nullable=False),
        sa.Column("compatibility_mode", sa.Boolean, nullable=False),
        sa.Column("dlp_action", sa.String(64), nullable=False),
        sa.Column("labels", sa.Text, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_gateway_logs"),
    )
    op.create_index("ix_gateway_logs_account_id", "gateway_logs", ["account_id", "gateway_id", "created_at", "id"])
    op.create_index("ix_gateway_logs_created_at", "gateway_logs", ["created_at"])


def _bodies_and_counts() -> None:
    op.create_table(
        "gateway_log_bodies",
        sa.Column("log_id", sa.String(64), nullable=False),
        sa.Column("request", sa.LargeBinary),
        sa.Column("response", sa.LargeBinary),
        sa.PrimaryKeyConstraint("log_id", name="pk_gateway_log_bodies"),
    )
    op.create_table(
        "gateway_log_counts",
        sa.Column("account_id", sa.String(200), nullable=False),
        sa.Column("gateway_id", sa.String(64), nullable=False),
        sa.Column("n_logs", sa.BigInteger, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("account_id", "gateway_id", name="pk_gateway_log_counts"),
        sqlite_with_rowid=False,
    )


def _cache_and_spend() -> None:
    op.create_table(
        "gateway_cache",
        sa.Column("account_id", sa.String(200), nullable=False),
        sa.Column("gateway_id", sa.String(64), nullable=False),
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("headers", sa.Text, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("expires_at", sa.Double, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("account_id", "gateway_id", "key", name="pk_gateway_cache"),
    )
    op.create_index("ix_gateway_cache_account_id", "gateway_cache", ["account_id", "created_at", "size_bytes"])
    op.create_index("ix_gateway_cache_expires_at", "gateway_cache", ["expires_at"])
    op.create_table(
        "gateway_spend",
        sa.Column("account_id", sa.String(200), nullable=False),
        sa.Column("gateway_id", sa.String(64), nullable=False),
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("rule_id", sa.String(64), nullable=False),
        sa.Column("bucket", sa.Text, nullable=False),
        sa.Column("amounts", sa.Text, nullable=False),
        sa.Column("updated_at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("account_id", "gateway_id", "key", name="pk_gateway_spend"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_gateway_spend_updated_at", "gateway_spend", ["updated_at"])
