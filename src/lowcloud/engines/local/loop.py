"""The text engine's loop: schedule, forward, sample.

One thread owns it. Tokens in and out, nothing else: text is the server's. A reply doesn't depend on its company, bit
for bit; ``scheduler`` and ``sampler`` say how.
"""

from bisect import insort
from collections.abc import Callable
from collections.abc import Sequence as Items
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lowcloud.engines.local import scheduler
from lowcloud.engines.local.blocks import BLOCK, BlockPool, SwapSpace, blocks_for, prefix_keys
from lowcloud.engines.local.drafting import MAX_DRAFT, Drafter
from lowcloud.engines.local.frames import Accepted, Finish, Refused, Step, Submit
from lowcloud.engines.local.grammar import Constraint, GrammarError, Grammars
from lowcloud.engines.local.sampler import NoNumbersError, Sampled, Sampler
from lowcloud.engines.local.scheduler import Limits, Plan, Start, Work
from lowcloud.engines.local.sequence import Model, Row, Sequence
from lowcloud.engines.local.spec import WorkerSpec

News: TypeAlias = Accepted | Refused
Output: TypeAlias = list[Any]


@dataclass(frozen=True, slots=True)
class LoopSettings:
    """``prefill_tokens``: prompt tokens a step, at least 64. ``max_live``: sequences waiting or running.

    Where it ``can_draft``, sequences with a prediction do, and with ``speculation`` all do.
    """

    max_seqs: int = 64
    prefill_tokens: int = 256
    prefix_cache: bool = True
    swap_bytes: int = 2**30
    max_live: int = 8192
    can_draft: bool = False
    speculation: bool = False

    @staticmethod
    def of(spec: WorkerSpec, pass_tokens: int | None = None, *, paged: bool, can_draft: bool = False) -> "LoopSettings":
        """The spec's settings, with at most ``pass_tokens`` in a pass.

        An unpaged model has one sequence at a time, so nothing to reuse or to swap.
        """
        if not paged:
            return LoopSettings(1, spec.prefill_tokens, prefix_cache=False, swap_bytes=0)
        most = pass_tokens or max(spec.prefill_tokens, spec.max_seqs)
        return LoopSettings(
            min(spec.max_seqs, most),
            min(spec.prefill_tokens, most),
            spec.prefix_cache,
            spec.swap_bytes,
            can_draft=can_draft,
            speculation=spec.speculation,
        )


class Loop:
    """``tell`` gets ``Accepted`` before the first pass of a sequence, ``Refused`` when it can't run or go on.

    Without ``grammars`` none is followed: a sequence that has one is refused.
    """

    def __init__(
        self,
        model: Model,
        settings: LoopSettings,
        tell: Callable[[News], None] = lambda _: None,
        grammars: Grammars | None = None,
    ) -> None:
        self._model, self._settings, self._tell = model, settings, tell
        self._limits = Limits(settings.max_seqs, max(2 * BLOCK, settings.prefill_tokens))
        self._pool = BlockPool(model.n_blocks)
        self._swap = SwapSpace(settings.swap_bytes // model.block_bytes)
        self._grammars = grammars
        self._sampler = Sampler(model.n_vocab)
        self._context = min(model.context_length, model.n_blocks * BLOCK)
        self._compiling: dict[int, Submit] = {}
        self._sequences: dict[int, Sequence] = {}
        self._running: list[Sequence] = []
        self._waiting: list[Sequence] = []
        self._order = self._preemptions = 0

    @property
    def is_busy(self) -> bool:
        """Some sequence that has its grammar, or needs none, isn't finished."""
        return bool(self._sequences)

    @property
    def is_compiling(self) -> bool:
        """Some sequence waits for its grammar."""
        return bool(self._compiling)

    def submit(self, request: Submit) -> None:
        """Put a sequence at the end of its rank's line, at once or when its grammar is compiled; or refuse it."""
        refused = self._refusal(request)
        if refused:
            self._tell(refused)
        elif request.grammar and self._grammars:
            self._compiling[request.seq] = request
            self._grammars.ask(request.seq, request.grammar, request.forced)
        else:
            self._join(request, None)

    def join_compiled(self) -> None:
        """Put the sequences whose grammars have been compiled since in line, as ``submit`` does, or refuse them."""
        for seq, answer in self._grammars.answers() if self._grammars else ():
            request = self._compiling.pop(seq, None)
            if request and isinstance(answer, GrammarError):
                self._tell(Refused(seq, answer.code, str(answer)))
            elif request and isinstance(answer, Constraint):
                self._join(request, answer)

    def _join(self, request: Submit, constraint: Constraint | None) -> None:
        counts: dict[int, int] = {}
        for token in request.forced:
            counts[token] = counts.get(token, 0) + 1
        keys = prefix_keys(request.ids) if self._settings.prefix_cache else ()
        tokens = request.ids + request.forced
        sequence = Sequence(self._order, request, keys, tokens, counts, constraint=constraint)
        sequence.drafter = self._drafter(request)
        self._order += 1
        self._sequences[request.seq] = sequence
        insort(self._waiting, sequence, key=_place)

    def _drafter(self, request: Submit) -> Drafter | None:
        settings = self._settings
        if not (settings.can_draft and (settings.speculation or request.prediction)):
            return None
        end = min(len(request.ids) + request.max_tokens, self._context)
        drafter = Drafter(request.ids, request.prediction[: self._context], end)
        for token in request.forced:
            drafter.take(token)
        return drafter

    def _refusal(self, request: Submit) -> Refused | None:
        known, room = len(request.ids) + len(request.forced), self._context
        if not request.ids:
            return Refused(request.seq, "bad_token", "the prompt has no token")
        if not _are_tokens(request, self._model.n_vocab):
            return Refused(request.seq, "bad_token", f"a token id is outside 0..{self._model.n_vocab - 1}")
        if known >= room or len(request.forced) >= request.max_tokens:
            return Refused(request.seq, "too_long", f"{known} tokens leave no room in {room} for another")
        if request.grammar and not self._grammars:
            return Refused(request.seq, "failed", "no grammar can be followed here")
        n_live = len(self._sequences) + len(self._compiling)
        if request.seq in self._sequences or request.seq in self._compiling or n_live >= self._settings.max_live:
            return Refused(request.seq, "failed", "the sequence is there already, or too many are")
        return None

    def cancel(self, seq: int) -> None:
        """Forget a sequence; its blocks are free at once."""
        if self._compiling.pop(seq, None) and self._grammars:
            self._grammars.cancel(seq)
        sequence = self._sequences.get(seq)
        if sequence:
            self._forget(sequence)

    def step(self) -> Step:
        """Run every sequence that can run by one token or one piece of its prompt."""
        plan = scheduler.plan(self._running, self._waiting, self._pool, self._swap.available, self._limits)
        if self._waiting and not (plan.work or self._running):
            raise RuntimeError("sequences wait and none can start")
        self._act(plan)
        most_rows = max(self._limits.max_seqs, 1 + MAX_DRAFT)
        passes = [*scheduler.passes(plan.decodes, most_rows), plan.prefills]
        return Step([output for work in passes for output in self._run(work)], self._stats())

    def _act(self, plan: Plan) -> None:
        for sequence in plan.preempted:
            self._preempt(sequence, swap=sequence in plan.swap_out)
        for start in plan.start:  # all that is reused is held before anything is taken, else taking could evict it
            start.sequence.blocks = self._pool.hold(start.sequence.keys[: start.reuse])
        for start in plan.start:
            self._start(start)
        for work in plan.work:
            blocks = work.sequence.blocks
            blocks += self._pool.take(blocks_for(work.end) - len(blocks))

    def _preempt(self, sequence: Sequence, *, swap: bool) -> None:
        self._running.remove(sequence)
        if swap:
            self._swap.put(sequence.request.seq, self._model.copy_out(sequence.blocks))
        else:
            sequence.done = 0
        sequence.is_swapped = swap
        self._pool.release(sequence.blocks)
        sequence.blocks = []
        insort(self._waiting, sequence, key=_place)
        self._preemptions += 1

    def _start(self, start: Start) -> None:
        sequence = start.sequence
        self._waiting.remove(sequence)
        insort(self._running, sequence, key=_place)
        if sequence.is_swapped:
            saved = self._swap.pop(sequence.request.seq)
            sequence.blocks += self._pool.take(len(saved[0]) - start.reuse)
            self._model.copy_in(sequence.blocks[start.reuse :], tuple(part[start.reuse :] for part in saved))
            sequence.is_swapped = False
            self._register(sequence, start.reuse)
        else:
            sequence.done = start.reuse * BLOCK
        if not sequence.is_accepted:
            sequence.is_accepted = True
            self._tell(Accepted(sequence.request.seq, sequence.done))

    def _run(self, work: list[Work]) -> list[Output]:
        """One pass: decodes alone, or pieces of prompts alone."""
        if not work:
            return []
        logits = self._model.forward([row for item in work for row in _rows(item)])
        outputs, at = [], 0
        for item in work:
            sequence, first = item.sequence, item.sequence.done // BLOCK
            sequence.done += item.n_tokens
            self._register(sequence, first)
            if sequence.has_all_kv:
                n_rows = 1 + len(item.draft)
                outputs += self._next(sequence, logits[at : at + n_rows], item.draft)
                at += n_rows
        return outputs

    def _register(self, sequence: Sequence, first: int) -> None:
        """Only whole blocks that prompt passes alone wrote: those that decode rows wrote hold other bits."""
        for index in range(first, min(sequence.done // BLOCK, len(sequence.keys))):
            self._pool.register(sequence.keys[index], sequence.blocks[index])

    def _next(self, sequence: Sequence, rows: NDArray[np.float32], draft: Items[int]) -> list[Output]:
        """A token for the first row; for each other one, too, as long as the draft that it stands on is what came."""
        output: Output = [sequence.request.seq, [], None, None]
        for row, guess in zip(rows, [*draft, None], strict=True):
            try:
                sampled = self._sample(sequence, row)
            except (NoNumbersError, GrammarError) as error:
                if not output[1]:  # else what came before it is told first, and the next step meets it again
                    self._forget(sequence)
                    code = error.code if isinstance(error, GrammarError) else "failed"
                    self._tell(Refused(sequence.request.seq, code, str(error)))
                    return []
                sequence.done -= 1
                break
            finish = self._add(sequence, sampled, output)
            if finish:
                self._forget(sequence)
                return [output]
            if sampled.token != guess:
                break
            sequence.done += 1
        self._trim(sequence)
        return [output]

    def _add(self, sequence: Sequence, sampled: Sampled, output: Output) -> Finish | None:
        """The sequence goes on by a token, and its output tells it."""
        token = sampled.token
        sequence.tokens.append(token)
        sequence.counts[token] = sequence.counts.get(token, 0) + 1
        if sequence.drafter:
            sequence.drafter.take(token)
            if sequence.request.prediction:
                output[4:] = [sequence.drafter.predicted]
        finish = self._finish(sequence, token)
        output[1].append(token)
        if sampled.logprob is not None:
            output[2] = [*(output[2] or ()), [sampled.logprob, [list(pair) for pair in sampled.top]]]
        output[3] = finish
        return finish

    def _trim(self, sequence: Sequence) -> None:
        """Give back the blocks that only a draft needed."""
        n = sequence.blocks_wanted
        self._pool.release(sequence.blocks[n:])
        del sequence.blocks[n:]

    def _sample(self, sequence: Sequence, row: NDArray[np.float32]) -> Sampled:
        constraint = sequence.constraint
        if constraint is None:
            return self._sampler.sample(row, sequence)
        sampled = self._sampler.sample(row, sequence, constraint.mask())
        constraint.take(sampled.token)
        return sampled

    def _finish(self, sequence: Sequence, token: int) -> Finish | None:
        constraint = sequence.constraint  # where there is one, it says which end tokens end
        if constraint.is_over if constraint else token in sequence.request.stop_ids:
            return "stop"
        is_full = sequence.n_generated >= sequence.request.max_tokens or len(sequence.tokens) >= self._context
        return "length" if is_full else None

    def _forget(self, sequence: Sequence) -> None:
        del self._sequences[sequence.request.seq]
        (self._running if sequence in self._running else self._waiting).remove(sequence)
        if sequence.is_swapped:
            self._swap.pop(sequence.request.seq)
        self._pool.release(sequence.blocks)

    def _stats(self) -> list[int]:
        swapped = len(self._swap)
        waiting = len(self._waiting) - swapped
        return [waiting, len(self._running), self._pool.used, self._pool.n_blocks, swapped, self._preemptions]


def _place(sequence: Sequence) -> tuple[int, int]:
    return sequence.place


def _rows(work: Work) -> list[Row]:
    sequence, done = work.sequence, work.sequence.done
    end = done + work.n_tokens
    row = Row(sequence.tokens[done:end], done, sequence.blocks, end == len(sequence.tokens))
    return [row, *(Row((token,), end + i, sequence.blocks, True) for i, token in enumerate(work.draft))]


def _are_tokens(request: Submit, n_vocab: int) -> bool:
    biased = [int(token) for token, _ in request.logit_bias]
    lists = (request.ids, request.forced, request.prediction, biased)
    return all(min(ids, default=0) >= 0 and max(ids, default=0) < n_vocab for ids in lists)
