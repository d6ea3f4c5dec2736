"""A sequence: one generation's state in the loop, and what the model sees of it."""

from collections.abc import Sequence as Items
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lowcloud.engines.local.blocks import BLOCK, SavedBlocks, blocks_for
from lowcloud.engines.local.drafting import Drafter
from lowcloud.engines.local.frames import Submit
from lowcloud.engines.local.grammar import Constraint


@dataclass(slots=True, eq=False)
class Sequence:
    """``tokens`` are the prompt's and the generated ones, forced ones included; ``done`` of them have KV in ``blocks``.

    ``order`` is that of arrival, kept through preemption. ``keys`` name the prompt's whole blocks, none without
    prefix reuse. ``counts`` has how often each token was generated. ``constraint`` and ``drafter``
    have taken all generated tokens.
    """

    order: int
    request: Submit
    keys: tuple[bytes, ...]
    tokens: list[int]
    counts: dict[int, int]
    done: int = 0
    blocks: list[int] = field(default_factory=list)
    is_accepted: bool = False
    is_swapped: bool = False
    constraint: Constraint | None = None
    drafter: Drafter | None = None

    @property
    def rank(self) -> int:
        return self.request.rank

    @property
    def place(self) -> tuple[int, int]:
        """Its place in line: by rank, then by arrival."""
        return self.rank, self.order

    @property
    def n_prompt(self) -> int:
        return len(self.request.ids)

    @property
    def n_generated(self) -> int:
        return len(self.tokens) - len(self.request.ids)

    @property
    def has_all_kv(self) -> bool:
        """The last known token is in the cache: the model's next logits choose a new one."""
        return self.done == len(self.tokens)

    @property
    def draft(self) -> Items[int]:
        """Tokens that may follow the known ones, where the next pass chooses what does."""
        is_due = self.done == len(self.tokens) - 1
        return self.drafter.draft if self.drafter and is_due else ()

    @property
    def reusable_keys(self) -> tuple[bytes, ...]:
        """The prefix that may come from the cache; of a swapped-out sequence no more than it had.

        Two prompt tokens at least are left to compute: a lone one would run as a decode row and give other bits.
        """
        n_tokens = max(0, self.n_prompt - 2)
        return self.keys[: (min(n_tokens, self.done) if self.is_swapped else n_tokens) // BLOCK]

    @property
    def blocks_wanted(self) -> int:
        """Blocks for all tokens known now."""
        return blocks_for(len(self.tokens))


@dataclass(frozen=True, slots=True)
class Row:
    """Tokens of one sequence for one pass. ``past`` tokens before them are in ``blocks``, which have room for these."""

    tokens: Items[int]
    past: int
    blocks: Items[int]
    wants_logits: bool


class Model(Protocol):
    """What the loop needs of a model: ``n_blocks`` of KV, ``block_bytes`` each, ``context_length`` in tokens."""

    @property
    def n_vocab(self) -> int: ...
    @property
    def n_blocks(self) -> int: ...
    @property
    def block_bytes(self) -> int: ...
    @property
    def context_length(self) -> int: ...

    def forward(self, rows: Items[Row]) -> NDArray[np.float32]:
        """Logits (rows that want them, n_vocab) float32 after each row's last token, valid until the next call.

        All rows of a pass are prompt pieces, or all are single tokens. A single token may stand on the row before it,
        of the same sequence.
        """

    def copy_out(self, blocks: Items[int]) -> SavedBlocks:
        """Copies of the blocks' contents."""

    def copy_in(self, blocks: Items[int], saved: SavedBlocks) -> None:
        """Write copies back, into any blocks, in order."""
