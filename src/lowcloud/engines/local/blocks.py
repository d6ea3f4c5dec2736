"""The pool of KV blocks: who holds which, and which still hold a prompt prefix that another sequence can reuse.

It counts and names blocks; their contents are the model's. One thread, the loop's, owns it.
"""

import hashlib
from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

BLOCK = 32
"""Tokens a KV block: fixed by OpenVINO's CPU plugin, checked when a model is loaded."""

SavedBlocks: TypeAlias = tuple[NDArray[np.uint8], ...]
"""Copies of KV blocks, one array a cache tensor: (n_blocks, bytes of a block there)."""

_ROOT = b"lowcloud"


def blocks_for(n_tokens: int) -> int:
    """Blocks that hold ``n_tokens``."""
    return -(-n_tokens // BLOCK)


def prefix_keys(ids: Sequence[int]) -> tuple[bytes, ...]:
    """A key for every whole block of a prompt: a hash of all tokens up to its end. Equal keys mean equal prefixes."""
    whole = len(ids) // BLOCK
    rows = np.asarray(ids[: whole * BLOCK], np.int64).reshape(whole, BLOCK)
    keys, key = [], _ROOT
    for row in rows:
        key = hashlib.blake2b(row.tobytes(), key=key, digest_size=16).digest()
        keys.append(key)
    return tuple(keys)


@dataclass(frozen=True, slots=True)
class Match:
    """The leading blocks of a prompt that are in the pool; ``idle`` of them are held by nobody."""

    blocks: int
    idle: int


class BlockPool:
    """Blocks 0..n_blocks-1: free, held (by one or more sequences), or idle (nobody's, content still good).

    Idle blocks are taken when no free one is left, the longest idle first.
    """

    def __init__(self, n_blocks: int) -> None:
        self.n_blocks = n_blocks
        self._holders = [0] * n_blocks
        self._free = deque(range(n_blocks))
        self._block_of: dict[bytes, int] = {}
        self._key_of: dict[int, bytes] = {}
        self._idle: OrderedDict[int, None] = OrderedDict()

    @property
    def available(self) -> int:
        """Blocks that can be taken now."""
        return len(self._free) + len(self._idle)

    @property
    def used(self) -> int:
        """Blocks that sequences hold."""
        return self.n_blocks - self.available

    def match(self, keys: Iterable[bytes]) -> Match:
        """How much of a prefix is here; takes nothing."""
        blocks = idle = 0
        for key in keys:
            block = self._block_of.get(key)
            if block is None:
                break
            blocks, idle = blocks + 1, idle + (not self._holders[block])
        return Match(blocks, idle)

    def freed(self, holds: Mapping[int, int]) -> int:
        """How many blocks nobody holds any more once ``holds`` (block: number of holders that leave) are gone."""
        return sum(self._holders[block] == leaving for block, leaving in holds.items())

    def hold(self, keys: Iterable[bytes]) -> list[int]:
        """Hold the blocks of these keys, all of which ``match`` has just counted."""
        blocks = [self._block_of[key] for key in keys]
        for block in blocks:
            self._holders[block] += 1
            self._idle.pop(block, None)
        return blocks

    def take(self, n: int) -> list[int]:
        """``n`` blocks of undefined content, at most ``available``."""
        return [self._take() for _ in range(n)]

    def _take(self) -> int:
        if self._free:
            block = self._free.popleft()
        else:
            block, _ = self._idle.popitem(last=False)
            del self._block_of[self._key_of.pop(block)]
        self._holders[block] = 1
        return block

    def register(self, key: bytes, block: int) -> None:
        """The held ``block`` is whole and prompt passes alone wrote it: later prompts may reuse it.

        The first block of a key stays the one that is found.
        """
        if key not in self._block_of and block not in self._key_of:
            self._block_of[key], self._key_of[block] = block, key

    def release(self, blocks: Sequence[int]) -> None:
        """Let go of the blocks of one sequence. The end of a prefix becomes idle first, so it is also taken first."""
        for block in reversed(blocks):
            self._holders[block] -= 1
            if self._holders[block]:
                continue
            if block in self._key_of:
                self._idle[block] = None
            else:
                self._free.append(block)


class SwapSpace:
    """Copies of the blocks of preempted sequences in host memory, at most ``n_blocks`` in all."""

    def __init__(self, n_blocks: int) -> None:
        self._saved: dict[int, SavedBlocks] = {}
        self.available = n_blocks

    def __len__(self) -> int:
        """Sequences that are swapped out."""
        return len(self._saved)

    def put(self, seq: int, saved: SavedBlocks) -> None:
        """Keep a sequence's blocks; the caller knows that they fit in ``available``."""
        self._saved[seq] = saved
        self.available -= len(saved[0])

    def pop(self, seq: int) -> SavedBlocks:
        """The sequence's blocks, no longer kept."""
        saved = self._saved.pop(seq)
        self.available += len(saved[0])
        return saved
