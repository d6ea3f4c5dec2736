"""Which sequences run in the next step: pure, sequences and counts in, a plan out.

Continuous batching: every running sequence decodes one token a step, and up to ``prefill_tokens`` of prompts are
computed beside them, the lowest rank first, within it first come, first served. A sequence that lacks room takes that
of a higher rank. What must hold so that a reply doesn't depend on its company: prompts are cut on block borders, no cut
leaves a lone last token, and nothing is recomputed in another way than it was computed first. So a preempted sequence
is swapped out, or, when the swap space is full, starts again: its prompt by prefill, its generated tokens by decode
steps.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from collections.abc import Sequence as Items
from dataclasses import dataclass, field
from typing import Protocol

from lowcloud.engines.local.blocks import BLOCK, Match, blocks_for
from lowcloud.engines.local.sequence import Sequence


@dataclass(frozen=True, slots=True)
class Limits:
    """``prefill_tokens`` of prompts a step, at least 64; ``max_seqs`` running at once."""

    max_seqs: int
    prefill_tokens: int


class PoolView(Protocol):
    """What the plan asks of the block pool."""

    @property
    def available(self) -> int: ...
    def match(self, keys: Iterable[bytes]) -> Match: ...
    def freed(self, holds: Mapping[int, int]) -> int: ...


@dataclass(frozen=True, slots=True)
class Start:
    """A waiting sequence gets blocks: the first ``reuse`` of its prefix are in the pool already."""

    sequence: Sequence
    reuse: int


@dataclass(frozen=True, slots=True)
class Work:
    """``n_tokens`` of the sequence run in this step. One token is a decode row, more are a piece of a prompt.

    ``draft`` tokens run beside a decode row, each as one.
    """

    sequence: Sequence
    n_tokens: int
    draft: Items[int] = ()

    @property
    def end(self) -> int:
        """How many tokens of the sequence need room in its blocks."""
        return self.sequence.done + self.n_tokens + len(self.draft)


@dataclass(slots=True)
class Plan:
    """Acted on in this order: what leaves the pool, what enters it, what runs."""

    swap_out: list[Sequence] = field(default_factory=list)
    restart: list[Sequence] = field(default_factory=list)
    start: list[Start] = field(default_factory=list)
    work: list[Work] = field(default_factory=list)

    @property
    def preempted(self) -> list[Sequence]:
        return self.swap_out + self.restart

    @property
    def decodes(self) -> list[Work]:
        return [work for work in self.work if work.n_tokens == 1]

    @property
    def prefills(self) -> list[Work]:
        return [work for work in self.work if work.n_tokens > 1]


def plan(running: Items[Sequence], waiting: Items[Sequence], pool: PoolView, swap_blocks: int, limits: Limits) -> Plan:
    """The next step. ``running`` and ``waiting`` are sorted by place; ``swap_blocks`` are free in the swap space.

    Nothing starts in a step that preempts: what has just left would come straight back.
    """
    planner = _Planner(list(running), pool, swap_blocks, limits)
    planner.hold_back(waiting)
    planner.keep_running()
    if not planner.plan.preempted:
        planner.admit(waiting)
    planner.go_on()
    return planner.plan


def passes(decodes: Items[Work], most_rows: int) -> list[list[Work]]:
    """Decodes in as few passes as hold ``most_rows`` each, drafts included; none is split."""
    cut: list[list[Work]] = []
    room = 0
    for work in decodes:
        n_rows = 1 + len(work.draft)
        if n_rows > room:
            cut.append([])
            room = most_rows
        cut[-1].append(work)
        room -= n_rows
    return cut


def next_tokens(sequence: Sequence, done: int, budget: int) -> int:
    """How many tokens of the sequence to run next: 1 past its prompt, else a piece that fits the budget, maybe none.

    Pieces begin and end on block borders, but for the prompt's end, and never leave one last token alone.
    """
    left = sequence.n_prompt - done
    if left <= 0:
        return 1
    if left <= budget:
        return left
    cut = budget // BLOCK * BLOCK
    return max(0, cut - BLOCK if left - cut == 1 else cut)


class _Planner:
    """What is left of blocks, swap space and budget while a plan grows."""

    def __init__(self, running: list[Sequence], pool: PoolView, swap_blocks: int, limits: Limits) -> None:
        self.plan = Plan()
        self._running, self._pool, self._limits = running, pool, limits
        self._available, self._taken, self._reserved = pool.available, 0, 0
        self._leaving: Counter[int] = Counter()
        self._swap, self._budget = swap_blocks, limits.prefill_tokens
        self._held_back: list[Sequence] = []

    @property
    def _free(self) -> int:
        return self._available + self._pool.freed(self._leaving) - self._taken

    def hold_back(self, waiting: Items[Sequence]) -> None:
        """The prompts of higher ranks than waits get what it leaves of the budget."""
        self._held_back = [s for s in self._running if waiting and s.rank > waiting[0].rank and s.done < s.n_prompt]

    def keep_running(self) -> None:
        """Work and blocks for what runs, in order; the last in line give way when blocks run out."""
        index = 0
        while index < len(self._running):
            sequence = self._running[index]
            work = self._work(sequence)
            planned = blocks_for(work.end)
            while planned - len(sequence.blocks) > self._free and len(self._running) > index:
                self._preempt(self._running.pop())
            if len(self._running) > index:
                self._taken += planned - len(sequence.blocks)
                self._reserved += max(0, sequence.blocks_wanted - planned)
                self._add(work, sequence.done)
            index += 1

    def _work(self, sequence: Sequence) -> Work:
        """With a draft where there are blocks for it: nobody gives way to a guess."""
        budget = 0 if sequence in self._held_back else self._budget
        work = Work(sequence, next_tokens(sequence, sequence.done, budget), sequence.draft)
        fits = blocks_for(work.end) - len(sequence.blocks) <= self._free
        return work if fits else Work(sequence, work.n_tokens)

    def _preempt(self, victim: Sequence) -> None:
        self._leaving.update(victim.blocks)
        if len(victim.blocks) <= self._swap:
            self._swap -= len(victim.blocks)
            self.plan.swap_out.append(victim)
        else:
            self.plan.restart.append(victim)

    def _add(self, work: Work, done: int) -> None:
        if work.n_tokens:
            self.plan.work.append(work)
        if done < work.sequence.n_prompt:
            self._budget -= work.n_tokens

    def admit(self, waiting: Items[Sequence]) -> None:
        """Start what fits, in order; one that lacks blocks or budget holds back all behind it.

        A sequence whose next prefix block is being computed for another, of no higher rank, waits for it, and holds
        nobody back.
        """
        room = self._limits.max_seqs - len(self._running)
        coming = {key: s.rank for s in reversed(self._running) for key in s.keys[s.done // BLOCK :]}
        for sequence in waiting:
            if len(self.plan.start) >= room:
                self._outrank(sequence)
                break
            match = self._pool.match(sequence.reusable_keys)
            following = sequence.reusable_keys[match.blocks : match.blocks + 1]
            if any(key in coming and coming[key] <= sequence.rank for key in following):
                continue
            if not self._start(sequence, match):
                break
            if not sequence.is_swapped:
                coming.update(dict.fromkeys(sequence.keys[match.blocks :], sequence.rank))

    def _start(self, sequence: Sequence, match: Match) -> bool:
        done = match.blocks * BLOCK if not sequence.is_swapped else sequence.done
        n_tokens = next_tokens(sequence, done, self._budget)
        if not n_tokens:
            return False
        # All known tokens must fit, not only the first piece: a sequence that starts should not soon be preempted.
        need = sequence.blocks_wanted - match.blocks + match.idle
        if need > self._free - self._reserved:
            self._outrank(sequence)
            return False
        self._taken += need
        self.plan.start.append(Start(sequence, match.blocks))
        self._add(Work(sequence, n_tokens), done)
        return True

    def _outrank(self, sequence: Sequence) -> None:
        """The last of what runs, if of a higher rank, gives way to one that lacks room and is the next to start."""
        if not self.plan.start and self._running and self._running[-1].rank > sequence.rank:
            victim = self._running.pop()
            self.plan.work = [work for work in self.plan.work if work.sequence is not victim]
            self._preempt(victim)

    def go_on(self) -> None:
        """With the prompts that were held back, in order, as far as the budget reaches."""
        for sequence in self._held_back:
            work = Work(sequence, next_tokens(sequence, sequence.done, self._budget))
            missing = blocks_for(work.end) - len(sequence.blocks)
            if sequence in self._running and missing <= self._free:
                self._taken += missing
                self._add(work, sequence.done)
