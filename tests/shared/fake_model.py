"""A model without weights for the loop: its logits are a hash of all that its blocks say was written, and how.

It is honest about the past: a wrong block table, a block given away too early, or one that decode rows wrote and a
prompt reuses, all change its logits. It refuses passes that the real model may not get.
"""

import hashlib
import threading
from collections.abc import Callable
from collections.abc import Sequence as Items
from dataclasses import dataclass, field

import llguidance
import numpy as np
from numpy.typing import NDArray

from lowcloud.engines.local.blocks import BLOCK, SavedBlocks, blocks_for
from lowcloud.engines.local.frames import Step, Submit
from lowcloud.engines.local.grammar import Grammars
from lowcloud.engines.local.loop import Loop, LoopSettings, News
from lowcloud.engines.local.sequence import Row

_BY_PROMPT, _BY_DECODE = 0, 1


class FakeModel:
    """``passes`` keeps the row lengths of every pass; ``broken`` tokens make NaN logits for their sequence."""

    def __init__(
        self, n_blocks: int = 64, *, n_vocab: int = 97, context_length: int = 1024, broken: frozenset[int] = frozenset()
    ) -> None:
        self.n_vocab, self.n_blocks, self.context_length = n_vocab, n_blocks, context_length
        self.block_bytes = BLOCK * 8
        self.passes: list[list[int]] = []
        self._broken = broken
        self._cache = np.full((n_blocks, BLOCK), -1, np.int64)

    def forward(self, rows: Items[Row]) -> NDArray[np.float32]:
        lengths = [len(row.tokens) for row in rows]
        assert rows and (max(lengths) == 1 or min(lengths) > 1), "decode and prompt rows in one pass"
        self.passes.append(lengths)
        for row in rows:
            self._write(row)
        logits = [self._logits(row) for row in rows if row.wants_logits]
        return np.array(logits, np.float32).reshape(-1, self.n_vocab)

    def _write(self, row: Row) -> None:
        end = row.past + len(row.tokens)
        assert len(row.tokens) == 1 or row.past % BLOCK == 0, "a prompt was not cut on a block border"
        assert len(row.blocks) >= blocks_for(end) and end <= self.context_length
        how = _BY_DECODE if len(row.tokens) == 1 else _BY_PROMPT
        for place, token in zip(range(row.past, end), row.tokens, strict=True):
            assert 0 <= token < self.n_vocab
            self._cache[row.blocks[place // BLOCK], place % BLOCK] = 2 * token + how

    def _logits(self, row: Row) -> NDArray[np.float32]:
        seen = self._cache[list(row.blocks)].ravel()[: row.past + len(row.tokens)]
        assert (seen >= 0).all(), "a block was read before it was written"
        if self._broken & {int(mark) // 2 for mark in seen}:
            return np.full(self.n_vocab, np.nan, np.float32)
        seed = int.from_bytes(hashlib.blake2b(seen.tobytes(), digest_size=8).digest())
        return np.random.default_rng(seed).normal(0, 2, self.n_vocab).astype(np.float32)

    def copy_out(self, blocks: Items[int]) -> SavedBlocks:
        copies: NDArray[np.int64] = self._cache[list(blocks)]
        return (copies.view(np.uint8).reshape(len(blocks), -1),)

    def copy_in(self, blocks: Items[int], saved: SavedBlocks) -> None:
        self._cache[list(blocks)] = saved[0].view(np.int64)


def submit(seq: int = 0, ids: Items[int] = (1, 2, 3), **changes: object) -> Submit:
    """A greedy request for 8 tokens, but for ``changes``."""
    values: dict[str, object] = {
        "forced": [],
        "max_tokens": 8,
        "stop_ids": [],
        "temperature": 0.0,
        "top_p": 1.0,
        "top_k": 0,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "logit_bias": [],
        "seed": 0,
        "choice": 0,
        "n_logprobs": -1,
        "grammar": "",
    }
    return Submit(seq=seq, ids=list(ids), **(values | changes))


@dataclass
class Told:
    """What a loop said of one sequence."""

    tokens: list[int] = field(default_factory=list)
    logprobs: list[object] = field(default_factory=list)
    finish: str | None = None


@dataclass
class Gate:
    """A vocabulary, which the first grammar needs, that comes when it is let: ``begun`` is set when it is wanted."""

    vocabulary: Callable[[], llguidance.LLTokenizer]
    loads: int = 0
    opened: threading.Event = field(default_factory=threading.Event)
    begun: threading.Event = field(default_factory=threading.Event)

    def __call__(self) -> llguidance.LLTokenizer:
        self.loads += 1
        self.begun.set()
        assert self.opened.wait(60), "it is never let"
        return self.vocabulary()


class Driver:
    """A loop and what it said: ``told`` by sequence, ``news`` in order, the last ``stats``, most ``swapped`` out.

    ``predicted`` has what became of predictions, by sequence; ``compilations`` the thread of each compiled grammar. It
    follows grammars where it has a ``vocabulary``.
    """

    def __init__(
        self,
        model: object,
        settings: LoopSettings | None = None,
        *,
        vocabulary: Callable[[], llguidance.LLTokenizer] | None = None,
    ) -> None:
        self.model = model
        self.news: list[News] = []
        self.told: dict[int, Told] = {}
        self.predicted: dict[int, list[int]] = {}
        self.stats: list[int] = []
        self.swapped = 0
        self.compiled = threading.Event()
        self.compilations: list[str] = []
        grammars = Grammars(vocabulary, self._woken) if vocabulary else None
        self.loop = Loop(model, settings or LoopSettings(), self.news.append, grammars)

    def _woken(self) -> None:
        """Called by the thread that has compiled a grammar, or taken a sequence's forced tokens through one."""
        self.compilations.append(threading.current_thread().name)
        self.compiled.set()

    def settle(self) -> None:
        """Wait until every grammar that was asked for is compiled."""
        self.loop.join_compiled()
        while self.loop.is_compiling:
            assert self.compiled.wait(60), "a grammar is never compiled"
            self.compiled.clear()
            self.loop.join_compiled()

    def step(self) -> Step:
        self.loop.join_compiled()
        step = self.loop.step()
        self.stats = step.stats
        self.swapped = max(self.swapped, step.stats[4])
        for seq, tokens, logprobs, finish, *predicted in step.outputs:
            told = self.told.setdefault(seq, Told())
            assert told.finish is None, "a finished sequence spoke"
            told.tokens += tokens
            told.logprobs += logprobs or []
            told.finish = finish
            if predicted:
                self.predicted[seq] = predicted[0]
        return step

    def finish(self) -> dict[int, Told]:
        """Step until nothing is left to do."""
        while self.loop.is_busy or self.loop.is_compiling:
            if not self.loop.is_busy:
                self.settle()
            if self.loop.is_busy:
                self.step()
        return self.told
