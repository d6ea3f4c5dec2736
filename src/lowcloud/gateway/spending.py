"""Dollars that calls have spent and hold, under each gateway's rules: kept in the database, decided in memory.

Servers on one database tell it once a second what they have spent, and hear a second later what others have: so with
several of them a limit may be overshot by what is spent in two seconds, and by all that is spent while the database is
away. What calls hold is each server's own.
"""

import json
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from time import time
from typing import Protocol, TypeAlias

import anyio
import structlog

from lowcloud.gateway.settlements import Place, Settlement, Settlements
from lowcloud.gateway.spend import Facts, Key, SpendRule, keys_of, reserve, settle
from lowcloud.gateway.windows import Amounts, Entry, Held, Window, gained, is_empty

SAVE_S = FRESH_S = 1.0
SAVE_BOUND_S = 10.0
PRUNE_S = 60.0
Gains: TypeAlias = dict[Place, dict[Key, list[Entry]]]


class SpendStore(Protocol):
    """Where what was spent outlives this process, and others hear of it; amounts are JSON."""

    async def load(self, account_id: str, gateway_id: str, buckets: Collection[Key], /) -> Mapping[Key, str]: ...
    async def change(
        self,
        account_id: str,
        gateway_id: str,
        buckets: Collection[Key],
        change: Callable[[Mapping[Key, str]], Mapping[Key, str]],
        /,
    ) -> Mapping[Key, str]: ...


@dataclass(frozen=True, slots=True)
class Reservation:
    """What a call holds until it is settled."""

    place: Place
    keys: Mapping[Key, SpendRule]
    call: Held


class Spending:
    """The buckets of all gateways that have rules. ``run`` saves them, and until then ``settlements`` has what they
    gained. ``clock`` gives seconds since 1970; ``is_shared``: other servers spend too."""

    def __init__(
        self,
        store: SpendStore,
        settlements: Settlements,
        clock: Callable[[], float] = time,
        *,
        is_shared: bool = False,
    ) -> None:
        self._store, self._settlements, self._clock = store, settlements, clock
        self._is_shared, self._fresh_s = is_shared, FRESH_S if is_shared else inf
        self._ledgers: dict[Place, dict[Key, Amounts]] = {}
        self._heard: dict[Place, dict[Key, float]] = {}  # when the database was asked last
        self._rules: dict[Place, Mapping[str, SpendRule]] = {}  # as the last call had them, by id
        self._gains: Gains = {}  # that the database hasn't heard of
        self._asking = anyio.Lock()
        self._log = structlog.get_logger("lowcloud.gateway")

    async def recover(self) -> None:
        """Save what a server before has settled and not saved: before the first call. Raises what the store does.

        One that dies between saving it and dropping its settlements, which is as long as some can't be saved, has the
        next one count them twice: it refuses calls a little too soon rather than too late.
        """
        left = self._settlements.end()
        gains: Gains = {}
        for settlement in self._settlements.read(left):
            if settlement.keys:
                _gain(gains, settlement)
            else:
                gains.pop(settlement.place, None)
        for place, buckets in gains.items():
            await self._store.change(*place, buckets, _adding(buckets, {}, self._clock()))
        self._settlements.drop(left)

    async def reserve(self, place: Place, rules: Sequence[SpendRule], facts: Facts, wanted: Held) -> Reservation | None:
        """Hold what a call may cost; None: no rule is for it. Raises SpendLimitReached."""
        keys = keys_of(rules, facts)
        if not keys:
            return None
        self._rules[place] = {rule.id: rule for rule in rules}
        ledger = await self._ledger(place, keys)
        refusal, changed = reserve(keys, ledger, wanted)  # nothing is awaited from here to the change
        if refusal is not None:
            raise refusal.error()
        ledger.update(changed)
        return Reservation(place, keys, wanted)

    def settle(self, held: Reservation, amount: float, now: float) -> None:
        """The call is over and cost so much; 0: it never ran. Of a gateway that is gone it counts nowhere."""
        ledger = self._ledgers.get(held.place)
        if ledger is None:
            return
        ledger.update(settle(held.keys, ledger, held.call.id, amount, now))
        if amount > 0:
            settlement = Settlement(held.place, held.keys, (held.call.at, amount))
            _gain(self._gains, settlement)
            self._settlements.append(settlement)

    async def run(self, sleep: Callable[[float], Awaitable[None]] = anyio.sleep) -> None:
        """Save what has changed, again and again until cancelled; then the last of it."""
        pruned = self._clock()
        try:
            while True:
                await sleep(SAVE_S)
                with anyio.move_on_after(SAVE_BOUND_S, shield=True):  # what was cut off may be saved, and count twice
                    await self.save()
                if not 0 <= self._clock() - pruned < PRUNE_S:
                    pruned = self._clock()
                    await self.prune()
        finally:
            with anyio.move_on_after(SAVE_BOUND_S, shield=True):
                await self.save()

    async def save(self) -> None:
        """What calls under way hold isn't saved: after a restart they are no more."""
        async with self._asking:
            settled = self._settlements.end()
            left, self._gains = self._gains, {}
            try:
                for place in list(left):
                    if await self._try_save(place, left[place]):
                        del left[place]
                if not left:
                    self._settlements.drop(settled)
            except OSError:
                self._log.exception("what was settled and is saved can't be dropped")
            finally:
                for place in left.keys() & self._ledgers.keys():
                    self._put_back(place, left[place])

    async def prune(self) -> None:
        """Drop the buckets whose time is over and in which nothing is held, and those of rules that are no more."""
        now = self._clock()
        for place, ledger in list(self._ledgers.items()):
            rules = self._rules.get(place, {})
            over = [key for key, amounts in ledger.items() if _is_over(rules.get(key[0]), amounts, now)]
            if not over:
                continue
            for key in over:
                for each in (ledger, self._gains.get(place, {}), self._heard.get(place, {})):
                    each.pop(key, None)

            def left(kept: Mapping[Key, str], rules: Mapping[str, SpendRule] = rules) -> Mapping[Key, str]:
                return {key: text for key, text in kept.items() if not _is_over(rules.get(key[0]), _amounts(text), now)}

            try:
                await self._store.change(*place, over, left)
            except Exception:  # the outermost place of this task: what is too old goes from the store some day
                self._log.exception("what was spent can't be deleted")

    def forget(self, place: Place) -> None:
        """A gateway is gone."""
        if place in self._ledgers:
            self._settlements.append(Settlement(place))
        for each in (self._ledgers, self._gains, self._rules, self._heard):
            each.pop(place, None)

    async def _ledger(self, place: Place, keys: Collection[Key]) -> dict[Key, Amounts]:
        """With some buckets as the database had them a moment ago, and since."""
        ledger = self._ledgers.setdefault(place, {})
        stale = self._stale(place, keys)
        if stale and (any(key not in ledger for key in stale) or not self._asking.locked()):
            async with self._asking:
                if stale := self._stale(place, keys):
                    await self._ask(place, stale)
        return ledger

    def _stale(self, place: Place, keys: Collection[Key]) -> list[Key]:
        heard, now = self._heard.get(place, {}), self._clock()
        return [key for key in keys if key not in heard or not 0 <= now - heard[key] < self._fresh_s]

    async def _ask(self, place: Place, keys: Sequence[Key]) -> None:
        try:
            kept = await self._store.load(*place, keys)
        except Exception:
            if any(key not in self._ledgers.get(place, {}) for key in keys):
                raise
            self._log.exception("what others have spent can't be asked for")
        else:
            self._learn(place, kept, keys)
        if place in self._ledgers:
            self._heard.setdefault(place, {}).update(dict.fromkeys(keys, self._clock()))

    async def _try_save(self, place: Place, gains: Mapping[Key, Sequence[Entry]]) -> bool:
        """Whether a gateway's gains are in the database, or it is gone."""
        if place not in self._ledgers:
            return True
        try:
            kept = await self._store.change(*place, gains, _adding(gains, self._rules.get(place, {}), self._clock()))
            if place not in self._ledgers:  # its rows went before these came
                await self._store.change(*place, gains, lambda _: {})
        except Exception:  # the outermost place of this task: it is tried again
            self._log.exception("what was spent can't be saved")
            return False
        if self._is_shared:
            self._learn(place, kept, gains)
        return True

    def _put_back(self, place: Place, gains: Mapping[Key, Sequence[Entry]]) -> None:
        """For the next save, in no more entries than a bucket has."""
        rules, now = self._rules.get(place, {}), self._clock()
        since = self._gains.setdefault(place, defaultdict(list))
        for key, entries in gains.items():
            since[key] = list(gained(_window(rules, key), entries, since[key], now))

    def _learn(self, place: Place, kept: Mapping[Key, str], keys: Collection[Key]) -> None:
        """Some buckets hold what the database has, and what it hasn't heard of yet. Those of a gateway that is gone
        hold nothing."""
        ledger, rules = self._ledgers.get(place), self._rules.get(place, {})
        if ledger is None:
            return
        now, gains = self._clock(), self._gains.get(place, {})
        for key in keys:
            entries = _amounts(kept.get(key, "[]")).entries
            entries = gained(_window(rules, key), entries, gains.get(key, ()), now)
            ledger[key] = replace(ledger.get(key, Amounts()), entries=entries)


def _gain(gains: Gains, settlement: Settlement) -> None:
    buckets = gains.setdefault(settlement.place, defaultdict(list))
    for key in settlement.keys:
        buckets[key].append(settlement.entry)


def _adding(
    gains: Mapping[Key, Sequence[Entry]], rules: Mapping[str, SpendRule], now: float
) -> Callable[[Mapping[Key, str]], Mapping[Key, str]]:
    """Adds what buckets gained to what they hold."""

    def add(kept: Mapping[Key, str]) -> Mapping[Key, str]:
        return {
            key: json.dumps(gained(_window(rules, key), _amounts(kept.get(key, "[]")).entries, entries, now))
            for key, entries in gains.items()
        }

    return add


def _window(rules: Mapping[str, SpendRule], key: Key) -> Window | None:
    rule = rules.get(key[0])
    return None if rule is None else rule.window


def _is_over(rule: SpendRule | None, amounts: Amounts, now: float) -> bool:
    return not amounts.held if rule is None else is_empty(rule.window, amounts, now)


def _amounts(text: str) -> Amounts:
    return Amounts(tuple((float(at), float(amount)) for at, amount in json.loads(text)))
