"""``lowcloud tokens``: make, list and revoke API tokens, beside a running server or without one."""

import json
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import anyio
import click

from lowcloud.cli.options import config_option, database_errors, settings_of
from lowcloud.core.principal import ACCOUNT_ID, Permission
from lowcloud.storage.database import Database, open_database
from lowcloud.storage.tokens import MAX_NAME_CHARS, TokenRecord, TokenStore, is_live

DAY_S = 86_400.0
PERMISSIONS = {
    "read": Permission.WORKERS_AI_READ,
    "write": Permission.WORKERS_AI_WRITE,
    "gateway-read": Permission.AI_GATEWAY_READ,
    "gateway-edit": Permission.AI_GATEWAY_EDIT,
    "gateway-run": Permission.AI_GATEWAY_RUN,
}

T = TypeVar("T")


@click.group()
def tokens() -> None:
    """API tokens: create, list, revoke."""


def _account(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None and not ACCOUNT_ID.fullmatch(value):
        raise click.BadParameter("an account id is 32 hex digits, in lower case")
    return value


@tokens.command()
@click.argument("name", default="token")
@click.option("--account", callback=_account, help="The account's id, 32 hex digits; default: the newest token's.")
@click.option(
    "--permission",
    "permissions",
    type=click.Choice(sorted(PERMISSIONS)),
    multiple=True,
    help="What it may do; may be given several times; default: everything.",
)
@click.option("--days", type=click.FloatRange(min=0, min_open=True), help="Days until it expires; default: never.")
@config_option
def create(
    name: str, account: str | None, permissions: tuple[str, ...], days: float | None, config: Path | None
) -> None:
    """Make a token called NAME and print it: the only time that it is shown.

    Standard output has the token alone; what people want to know is on standard error.
    """
    if len(name) > MAX_NAME_CHARS:
        raise click.BadParameter(f"NAME has more than {MAX_NAME_CHARS} characters")
    rights = [PERMISSIONS[permission] for permission in permissions or PERMISSIONS]
    expires_at = None if days is None else time.time() + days * DAY_S

    async def make(store: TokenStore) -> tuple[str, TokenRecord]:
        owner = account or account_for(await store.list())
        created = await store.create(name, owner, rights, expires_at)
        return created.token, created.record

    token, record = _with_store(config, make)
    click.echo(f"Token {record.id} of account {record.account_id}; it is shown this once:", err=True)
    click.echo(token)


@tokens.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@config_option
def list_(as_json: bool, config: Path | None) -> None:
    """List all tokens, oldest first; never the tokens themselves."""
    records = _with_store(config, lambda store: store.list())
    if as_json:
        for record in records:
            click.echo(json.dumps(_described(record)))
    else:
        click.echo("\n".join(_table(records, time.time())) if records else "There are no tokens.")


@tokens.command()
@click.argument("token_id", metavar="ID")
@config_option
def revoke(token_id: str, config: Path | None) -> None:
    """Revoke the token with this ID (as lowcloud tokens list shows it); it opens nothing from now on."""
    if not _with_store(config, lambda store: store.revoke(token_id)):
        raise click.ClickException(f"There is no live token {token_id}.")
    click.echo(f"Token {token_id} is revoked.")


def account_for(records: Iterable[TokenRecord]) -> str:
    """The account that a new token is for when none is named: the newest token's; the first token's is a new one."""
    accounts = [record.account_id for record in records]
    return accounts[-1] if accounts else secrets.token_hex(16)


def _with_store(config: Path | None, work: Callable[[TokenStore], Awaitable[T]]) -> T:
    storage = settings_of(config).storage

    async def inside(database: Database) -> T:
        return await work(TokenStore(database))

    with database_errors(), open_database(storage.url(), migrate=storage.migrate_at_start) as database:
        return anyio.run(inside, database)


def _described(record: TokenRecord) -> dict[str, object]:
    return {
        "id": record.id,
        "name": record.name,
        "account_id": record.account_id,
        "permissions": sorted(record.permissions),
        "created_at": record.created_at,
        "expires_at": record.expires_at,
        "revoked_at": record.revoked_at,
    }


def _table(records: Iterable[TokenRecord], now: float) -> list[str]:
    rows = [("ID", "ACCOUNT", "CREATED", "STATE", "NAME")]
    rows += [(r.id, r.account_id, _day(r.created_at), _state(r, now), r.name) for r in records]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return ["  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[4]]) for row in rows]


def _state(record: TokenRecord, now: float) -> str:
    if record.revoked_at is not None:
        return "revoked"
    if not is_live(record, now):
        return "expired"
    return "live" if record.expires_at is None else f"until {_day(record.expires_at)}"


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")
