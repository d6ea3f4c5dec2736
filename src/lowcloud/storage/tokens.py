"""API tokens: made once, kept as hashes, looked up at every request."""

import hashlib
import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from lowcloud.core.errors import ExpiredToken
from lowcloud.core.principal import Permission, Principal
from lowcloud.storage.database import Database
from lowcloud.storage.tables import tokens

TOKEN_PREFIX = "lowcloud_"  # noqa: S105 - lets people and secret scanners tell what it is
MAX_TOKEN_CHARS = 200
MAX_NAME_CHARS = 120


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """What is kept of a token. Times are seconds since 1970; ``revoked_at`` None: not revoked."""

    id: str
    name: str
    account_id: str
    permissions: frozenset[Permission]
    created_at: float
    expires_at: float | None
    revoked_at: float | None


@dataclass(frozen=True, slots=True)
class CreatedToken:
    """A new token, in clear for the only time."""

    token: str
    record: TokenRecord


class TokenStore:
    """The tokens of one database. ``clock`` gives seconds since 1970."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock

    async def create(
        self,
        name: str,
        account_id: str,
        permissions: Iterable[Permission] = tuple(Permission),
        expires_at: float | None = None,
    ) -> CreatedToken:
        """A new token of 256 random bits."""
        token = TOKEN_PREFIX + secrets.token_urlsafe(32)
        rights = frozenset(permissions)
        record = TokenRecord(
            secrets.token_hex(16), name[:MAX_NAME_CHARS], account_id, rights, self._clock(), expires_at, None
        )
        values = {
            "id": record.id,
            "name": record.name,
            "hash": _hash(token),
            "account_id": account_id,
            "permissions": "\n".join(sorted(rights)),
            "created_at": record.created_at,
            "expires_at": expires_at,
        }
        await self._database.writer.put(lambda connection: connection.execute(insert(tokens).values(values)))
        return CreatedToken(token, record)

    async def list(self) -> tuple[TokenRecord, ...]:
        """All tokens, the revoked and the expired too, oldest first."""
        query = select(tokens).order_by(tokens.c.created_at, tokens.c.id)
        rows = await self._database.run(lambda connection: connection.execute(query).all())
        return tuple(_record(row) for row in rows)

    async def revoke(self, token_id: str) -> bool:
        """End a token at once. False: there is no live token of that id."""
        change = (
            update(tokens)
            .where(tokens.c.id == token_id, tokens.c.revoked_at.is_(None))
            .values(revoked_at=self._clock())
        )
        return await self._database.writer.put(lambda connection: connection.execute(change).rowcount == 1)

    async def verify(self, token: str) -> Principal | None:
        """Whose token it is; None for one that is unknown. Raises ExpiredToken for one that was good once.

        The lookup goes by the hash, whose bytes a guesser can't steer, so its time tells nothing of other tokens.
        """
        if not token or len(token) > MAX_TOKEN_CHARS:
            return None
        query = select(tokens).where(tokens.c.hash == _hash(token))

        def look_up(connection: Connection) -> Row[Any] | None:
            return connection.execute(query).one_or_none()

        row = await self._database.run(look_up)
        if row is None:
            return None
        record = _record(row)
        if not is_live(record, self._clock()):
            raise ExpiredToken("Invalid API Token: it is expired or revoked.")
        return Principal(record.id, record.account_id, record.permissions, record.expires_at)


def is_live(record: TokenRecord, now: float) -> bool:
    """Whether the token opens doors at ``now``."""
    return record.revoked_at is None and (record.expires_at is None or now < record.expires_at)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def _record(row: Row[Any]) -> TokenRecord:
    rights = frozenset(Permission(name) for name in row.permissions.split("\n") if name in set(Permission))
    return TokenRecord(row.id, row.name, row.account_id, rights, row.created_at, row.expires_at, row.revoked_at)
