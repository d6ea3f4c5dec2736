"""Dollars that calls have spent and hold, under each gateway's rules: kept in the database, decided in memory."""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Protocol, TypeAlias

import anyio
import structlog

from lowcloud.gateway.spend import Facts, Key, SpendRule, keys_of, reserve, settle
from lowcloud.gateway.windows import Amounts, Held

SAVE_S = 1.0
Place: TypeAlias = tuple[str, str]  # an account and a gateway


class SpendStore(Protocol):
    """Where what was spent outlives this process; amounts are JSON."""

    async def load(self, account_id: str, gateway_id: str) -> Mapping[Key, str]: ...
    async def save(self, account_id: str, gateway_id: str, amounts: Mapping[Key, str]) -> None: ...


@dataclass(frozen=True, slots=True)
class Reservation:
    """What a call holds until it is settled."""

    place: Place
    keys: Mapping[Key, SpendRule]
    call_id: str


class Spending:
    """The buckets of all gateways that have rules. ``run`` saves them."""

    def __init__(self, store: SpendStore) -> None:
        self._store = store
        self._ledgers: dict[Place, dict[Key, Amounts]] = {}
        self._changed: dict[Place, set[Key]] = {}
        self._loading = anyio.Lock()
        self._log = structlog.get_logger("lowcloud.gateway")

    async def reserve(self, place: Place, rules: Sequence[SpendRule], facts: Facts, wanted: Held) -> Reservation | None:
        """Hold what a call may cost; None: no rule is for it. Raises SpendLimitReached."""
        keys = keys_of(rules, facts)
        if not keys:
            return None
        ledger = await self._ledger(place)
        refusal, changed = reserve(keys, ledger, wanted)  # nothing is awaited from here to the change
        if refusal is not None:
            raise refusal.error()
        self._change(place, changed)
        return Reservation(place, keys, wanted.id)

    def settle(self, held: Reservation, amount: float, now: float) -> None:
        """The call is over and cost so much; 0: it never ran."""
        ledger = self._ledgers[held.place]
        self._change(held.place, settle(held.keys, ledger, held.call_id, amount, now))

    async def run(self, sleep: Callable[[float], Awaitable[None]] = anyio.sleep) -> None:
        """Save what has changed, again and again until cancelled; then the last of it."""
        try:
            while True:
                await sleep(SAVE_S)
                await self.save()
        finally:
            with anyio.move_on_after(10, shield=True):
                await self.save()

    async def save(self) -> None:
        """What calls under way hold isn't saved: after a restart they are no more."""
        for place in list(self._changed):
            keys = self._changed.pop(place)
            ledger = self._ledgers[place]
            try:
                await self._store.save(*place, {key: _json(ledger[key]) for key in keys})
            except Exception:  # the outermost place of this task: it is tried again
                self._log.exception("what was spent can't be saved")
                self._changed.setdefault(place, set()).update(keys)
                return

    def forget(self, place: Place) -> None:
        """A gateway is gone."""
        self._ledgers.pop(place, None)
        self._changed.pop(place, None)

    async def _ledger(self, place: Place) -> dict[Key, Amounts]:
        if place not in self._ledgers:
            async with self._loading:
                if place not in self._ledgers:
                    kept = await self._store.load(*place)
                    self._ledgers[place] = {key: _amounts(text) for key, text in kept.items()}
        return self._ledgers[place]

    def _change(self, place: Place, changed: Mapping[Key, Amounts]) -> None:
        self._ledgers[place].update(changed)
        self._changed.setdefault(place, set()).update(changed)


def _json(amounts: Amounts) -> str:
    return json.dumps(asdict(amounts)["entries"])


def _amounts(text: str) -> Amounts:
    return Amounts(tuple((float(at), float(amount)) for at, amount in json.loads(text)))
