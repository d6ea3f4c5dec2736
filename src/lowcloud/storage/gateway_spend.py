"""What has been spent under the rules of gateways, so that it survives a restart."""

import hashlib
import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from operator import itemgetter

from sqlalchemy import ColumnElement, Connection, and_, delete, select

from lowcloud.storage.database import Database
from lowcloud.storage.tables import gateway_spend
from lowcloud.storage.upsert import insert_or_replace

KEYS_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class SpendRow:
    """What a bucket of a rule holds. ``amounts`` is JSON; ``updated_at`` is seconds since 1970."""

    account_id: str
    gateway_id: str
    rule_id: str
    bucket: str
    amounts: str
    updated_at: float


class SpendStore:
    """The spend of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def load(self, account_id: str, gateway_id: str) -> dict[tuple[str, str], str]:
        """The amounts of a gateway's buckets, by rule and bucket."""
        query = select(gateway_spend).where(_of(account_id, gateway_id))
        rows = await self._database.run(lambda connection: connection.execute(query).all())
        return {(row.rule_id, json.loads(row.bucket)): row.amounts for row in rows}

    async def save(self, rows: Iterable[SpendRow]) -> None:
        """In the place of what was there: all, or none where it raises."""
        found = {(row.account_id, row.gateway_id, _key(row.rule_id, row.bucket)): row for row in rows}
        values = [
            _values(key, row) for (_, _, key), row in sorted(found.items(), key=itemgetter(0))
        ]  # locked in one order

        def save(connection: Connection) -> None:
            if values:
                connection.execute(insert_or_replace(connection, gateway_spend, ["amounts", "updated_at"]), values)

        await self._database.writer.put(save)

    async def remove(self, account_id: str, gateway_id: str, buckets: Collection[tuple[str, str]]) -> None:
        """Delete buckets of a gateway, each a rule and a bucket."""
        keys = sorted(_key(rule_id, bucket) for rule_id, bucket in buckets)

        def remove(connection: Connection) -> None:
            for start in range(0, len(keys), KEYS_AT_ONCE):
                these = gateway_spend.c.key.in_(keys[start : start + KEYS_AT_ONCE])
                connection.execute(delete(gateway_spend).where(_of(account_id, gateway_id), these))

        await self._database.writer.put(remove)

    async def delete_old(self, before: float, limit: int = 1_000) -> int:
        """Delete at most ``limit`` that were saved last before then; how many."""
        table = gateway_spend
        old = select(table).where(table.c.updated_at < before).order_by(table.c.updated_at).limit(limit)

        def remove(connection: Connection) -> int:
            rows = connection.execute(old.with_for_update(skip_locked=True)).all()
            for row in rows:
                this = and_(_of(row.account_id, row.gateway_id), table.c.key == row.key)
                connection.execute(delete(table).where(this))
            return len(rows)

        return await self._database.writer.put(remove)


def remove_spend(connection: Connection, account_id: str, gateway_id: str) -> None:
    """All of a gateway's."""
    connection.execute(delete(gateway_spend).where(_of(account_id, gateway_id)))


def _of(account_id: str, gateway_id: str) -> ColumnElement[bool]:
    return and_(gateway_spend.c.account_id == account_id, gateway_spend.c.gateway_id == gateway_id)


def _key(rule_id: str, bucket: str) -> str:
    """A bucket may be of any length and have any characters in it, so its hash is the key."""
    return hashlib.sha256(json.dumps([rule_id, bucket]).encode()).hexdigest()


def _values(key: str, row: SpendRow) -> dict[str, str | float]:
    return {
        "account_id": row.account_id,
        "gateway_id": row.gateway_id,
        "key": key,
        "rule_id": row.rule_id,
        "bucket": json.dumps(row.bucket),
        "amounts": row.amounts,
        "updated_at": row.updated_at,
    }
