"""What was spent, as a database has it."""

from collections.abc import Callable, Collection, Mapping

import anyio

from lowcloud.gateway.settlements import Place
from lowcloud.gateway.spend import Key


class SpendBook:
    """A ``SpendStore``; while it ``is_down`` it does nothing, as ever for ``refused``. A change waits for its ``gate``,
    who asks until it ``is_asked``."""

    def __init__(self) -> None:
        self.kept: dict[Place, dict[Key, str]] = {}
        self.is_down = False
        self.gate: anyio.Event | None = None
        self.is_asked: anyio.Event | None = None
        self.refused: Place | None = None
        self.n_loads = 0

    async def load(self, account_id: str, gateway_id: str, keys: Collection[Key]) -> Mapping[Key, str]:
        self.n_loads += 1
        await anyio.lowlevel.checkpoint()
        if self.is_asked is not None:
            await self.is_asked.wait()
        if self.is_down:
            raise RuntimeError("not now")
        kept = self.kept.get((account_id, gateway_id), {})
        return {key: kept[key] for key in keys if key in kept}

    async def change(
        self,
        account_id: str,
        gateway_id: str,
        keys: Collection[Key],
        change: Callable[[Mapping[Key, str]], Mapping[Key, str]],
    ) -> Mapping[Key, str]:
        if self.gate is not None:
            await self.gate.wait()
        if self.is_down or self.refused == (account_id, gateway_id):
            raise RuntimeError("not now")
        theirs = self.kept.setdefault((account_id, gateway_id), {})
        after = change({key: theirs.pop(key) for key in keys if key in theirs})
        theirs.update(after)
        return after
