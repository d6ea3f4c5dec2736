"""Dollars that calls have spent and hold, under each gateway's rules: kept in the database, decided in memory."""

import json
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from time import time
from typing import Protocol

import anyio
import structlog

from lowcloud.gateway.settlements import Place, Settlement, Settlements
from lowcloud.gateway.spend import Facts, Key, SpendRule, keys_of, reserve, settle
from lowcloud.gateway.windows import Amounts, Entry, Held, is_empty

SAVE_S = 1.0
PRUNE_S = 60.0


class SpendStore(Protocol):
    """Where what was spent outlives this process; amounts are JSON."""

    async def load(self, account_id: str, gateway_id: str) -> Mapping[Key, str]: ...
    async def save(self, account_id: str, gateway_id: str, amounts: Mapping[Key, str]) -> None: ...
    async def remove(self, account_id: str, gateway_id: str, keys: Collection[Key]) -> None: ...


@dataclass(frozen=True, slots=True)
class Reservation:
    """What a call holds until it is settled."""

    place: Place
    keys: Mapping[Key, SpendRule]
    call: Held


class Spending:
    """The buckets of all gateways that have rules. ``run`` saves them, and until then ``settlements`` has what they
    gained. ``clock`` gives seconds since 1970."""

    def __init__(self, store: SpendStore, settlements: Settlements, clock: Callable[[], float] = time) -> None:
        self._store, self._settlements, self._clock = store, settlements, clock
        self._ledgers: dict[Place, dict[Key, Amounts]] = {}
        self._rules: dict[Place, Mapping[str, SpendRule]] = {}  # as the last call had them, by id
        self._changed: dict[Place, set[Key]] = {}
        self._loading = anyio.Lock()
        self._log = structlog.get_logger("lowcloud.gateway")

    async def recover(self) -> None:
        """Save what a server before has settled and not saved: before the first call. Raises what the store does.

        One that dies between saving it and dropping its settlements has the next one count them twice: it refuses
        calls a little too soon rather than too late.
        """
        left = self._settlements.end()
        gained: dict[Place, dict[Key, list[Entry]]] = {}
        for settlement in self._settlements.read(left):
            if not settlement.keys:
                gained.pop(settlement.place, None)
                continue
            buckets = gained.setdefault(settlement.place, defaultdict(list))
            for key in settlement.keys:
                buckets[key].append(settlement.entry)
        for place, buckets in gained.items():
            kept = await self._store.load(*place)
            await self._store.save(
                *place, {key: _gained(kept.get(key, "[]"), entries) for key, entries in buckets.items()}
            )
        self._settlements.drop(left)

    async def reserve(self, place: Place, rules: Sequence[SpendRule], facts: Facts, wanted: Held) -> Reservation | None:
        """Hold what a call may cost; None: no rule is for it. Raises SpendLimitReached."""
        keys = keys_of(rules, facts)
        if not keys:
            return None
        ledger = await self._ledger(place)
        self._rules[place] = {rule.id: rule for rule in rules}
        refusal, changed = reserve(keys, ledger, wanted)  # nothing is awaited from here to the change
        if refusal is not None:
            raise refusal.error()
        self._change(place, changed)
        return Reservation(place, keys, wanted)

    def settle(self, held: Reservation, amount: float, now: float) -> None:
        """The call is over and cost so much; 0: it never ran. Of a gateway that is gone it counts nowhere."""
        ledger = self._ledgers.get(held.place)
        if ledger is None:
            return
        self._change(held.place, settle(held.keys, ledger, held.call.id, amount, now))
        if amount > 0:
            self._settlements.append(Settlement(held.place, held.keys, (held.call.at, amount)))

    async def run(self, sleep: Callable[[float], Awaitable[None]] = anyio.sleep) -> None:
        """Save what has changed, again and again until cancelled; then the last of it."""
        pruned = self._clock()
        try:
            while True:
                await sleep(SAVE_S)
                await self.save()
                if not 0 <= self._clock() - pruned < PRUNE_S:
                    pruned = self._clock()
                    await self.prune()
        finally:
            with anyio.move_on_after(10, shield=True):
                await self.save()

    async def save(self) -> None:
        """What calls under way hold isn't saved: after a restart they are no more."""
        settled = self._settlements.end()
        changed, self._changed = self._changed, {}
        amounts = {place: self._kept(place, keys) for place, keys in changed.items()}
        try:
            for place, buckets in amounts.items():
                if place in self._ledgers:
                    await self._store.save(*place, buckets)
            self._settlements.drop(settled)
        except BaseException as error:
            for place in changed.keys() & self._ledgers.keys():
                self._changed.setdefault(place, set()).update(changed[place])
            if not isinstance(error, Exception):
                raise
            self._log.exception("what was spent can't be saved")  # the outermost place of this task: it is tried again

    async def prune(self) -> None:
        """Drop the buckets whose time is over and in which nothing is held, and those of rules that are no more."""
        now = self._clock()
        for place, ledger in list(self._ledgers.items()):
            rules = self._rules.get(place, {})
            over = [key for key, amounts in ledger.items() if _is_over(rules.get(key[0]), amounts, now)]
            if not over:
                continue
            for key in over:
                del ledger[key]
            self._changed.get(place, set()).difference_update(over)
            try:
                await self._store.remove(*place, over)
            except Exception:  # the outermost place of this task: what is too old goes from the store some day
                self._log.exception("what was spent can't be deleted")

    def forget(self, place: Place) -> None:
        """A gateway is gone."""
        if place in self._ledgers:
            self._settlements.append(Settlement(place))
        for each in (self._ledgers, self._changed, self._rules):
            each.pop(place, None)

    async def _ledger(self, place: Place) -> dict[Key, Amounts]:
        if place not in self._ledgers:
            async with self._loading:
                if place not in self._ledgers:
                    kept = await self._store.load(*place)
                    self._ledgers[place] = {key: _amounts(text) for key, text in kept.items()}
        return self._ledgers[place]

    def _kept(self, place: Place, keys: Collection[Key]) -> dict[Key, str]:
        ledger = self._ledgers.get(place, {})
        return {key: _json(ledger[key]) for key in keys if key in ledger}

    def _change(self, place: Place, changed: Mapping[Key, Amounts]) -> None:
        self._ledgers[place].update(changed)
        self._changed.setdefault(place, set()).update(changed)


def _is_over(rule: SpendRule | None, amounts: Amounts, now: float) -> bool:
    return not amounts.held if rule is None else is_empty(rule.window, amounts, now)


def _json(amounts: Amounts) -> str:
    return json.dumps(asdict(amounts)["entries"])


def _amounts(text: str) -> Amounts:
    return Amounts(tuple((float(at), float(amount)) for at, amount in json.loads(text)))


def _gained(kept: str, entries: Sequence[Entry]) -> str:
    """A bucket as it was kept, with what it gained since."""
    return _json(Amounts(tuple(sorted((*_amounts(kept).entries, *entries)))))
