"""What has been spent under the rules of gateways, by all servers on a database, so that it survives their restarts."""

import hashlib
import json
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeAlias

from sqlalchemy import ColumnElement, Connection, and_, bindparam, delete, select, update

from lowcloud.storage.database import Database
from lowcloud.storage.tables import gateway_spend
from lowcloud.storage.upsert import insert_or_replace

KEYS_AT_ONCE = 500
Bucket: TypeAlias = tuple[str, str]  # a rule's id, and the bucket's name
Change: TypeAlias = Callable[[Mapping[Bucket, str]], Mapping[Bucket, str]]  # of amounts, which are JSON


class SpendStore:
    """The spend of one database. ``clock`` gives seconds since 1970."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database, self._clock = database, clock

    async def load(self, account_id: str, gateway_id: str, buckets: Collection[Bucket]) -> dict[Bucket, str]:
        """What some of a gateway's buckets hold; one that holds nothing isn't among them."""
        keys = {_key(*bucket): bucket for bucket in buckets}
        found = await self._database.run(lambda connection: _held(connection, _of(account_id, gateway_id), list(keys)))
        return {keys[key]: amounts for key, amounts in found.items()}

    async def change(
        self, account_id: str, gateway_id: str, buckets: Collection[Bucket], change: Change
    ) -> Mapping[Bucket, str]:
        """Have some buckets hold what ``change`` says of what they hold, and return that; nobody else changes them in
        between. What is in neither of the two holds nothing, and goes. All is done, or nothing where it raises.
        """
        keys = dict(sorted((_key(*bucket), bucket) for bucket in buckets))  # locked in one order
        now = self._clock()
        place = {"account_id": account_id, "gateway_id": gateway_id}

        def work(connection: Connection) -> Mapping[Bucket, str]:
            new = [
                {**place, "key": key, "rule_id": rule, "bucket": json.dumps(name), "amounts": "", "updated_at": now}
                for key, (rule, name) in keys.items()
            ]
            _each(connection, insert_or_replace(connection, gateway_spend, ["updated_at"]), new)  # there, and locked
            kept = _held(connection, _of(account_id, gateway_id), list(keys), locks=True)
            after = change({keys[key]: amounts for key, amounts in kept.items() if amounts})
            rows = [{"its_key": key, "amounts": after.get(keys[key], ""), "updated_at": now} for key in keys]
            this = and_(_of(account_id, gateway_id), gateway_spend.c.key == bindparam("its_key"))
            _each(connection, update(gateway_spend).where(this), [row for row in rows if row["amounts"]])
            gone = [{"its_key": row["its_key"]} for row in rows if not row["amounts"]]
            _each(connection, delete(gateway_spend).where(this), gone)
            return after

        return await self._database.writer.put(work)

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


def _held(
    connection: Connection, theirs: ColumnElement[bool], keys: Sequence[str], *, locks: bool = False
) -> dict[str, str]:
    """The amounts of some buckets of a gateway, by their keys."""
    found: dict[str, str] = {}
    for start in range(0, len(keys), KEYS_AT_ONCE):
        these = gateway_spend.c.key.in_(keys[start : start + KEYS_AT_ONCE])
        query = select(gateway_spend.c.key, gateway_spend.c.amounts).where(theirs, these).order_by(gateway_spend.c.key)
        rows = connection.execute(query.with_for_update() if locks else query)
        found |= {row.key: row.amounts for row in rows}
    return found


def _each(connection: Connection, statement: Any, rows: Sequence[Mapping[str, object]]) -> None:
    if rows:
        connection.execute(statement, rows)
