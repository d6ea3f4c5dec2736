"""Chooses a sequence's next token from one row of logits.

Order: penalties, then logit_bias; temperature; top_k; then top_p (of the mass that top_k leaves) and min_p (of the
likeliest token's probability), each on its own, and a token must pass both. Tokens as likely as the last one inside
top_p are inside too. Temperature 0 takes the likeliest token, the first of equals. Tokens outside a grammar's mask
are left out after penalties and logit_bias, so nothing brings them back. Log-probabilities are of the model's own
distribution, before all of that.

A row fits the processor's L2 cache, and nothing sorts the vocabulary: the greatest values are found through the maxima
of lanes, a draw picks a lane and then a token in it, and top_p is done by rejection.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lowcloud.engines.local.frames import Submit
from lowcloud.engines.local.philox import Draws
from lowcloud.engines.local.sequence import Sequence

F32 = NDArray[np.float32]
Ids = NDArray[np.int64]

LANE = 256
_TRIES = 8  # at about 30 us each; then the nucleus is found by sorting candidates
_LEAST = 1e-45  # the smallest float32 above 0
_COLDEST = 1e-30  # below it, 1 / temperature leaves float32
_BITS = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little")
_BARRIERS = np.where(_BITS, np.float32(0), np.float32(-np.inf))


@dataclass(frozen=True, slots=True)
class Sampled:
    """``logprob`` and ``top`` (best first, (id, ln p)) only where they were asked for."""

    token: int
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()


class NoNumbersError(Exception):
    """The model gave NaN for this row."""

    def __str__(self) -> str:
        return "the model gave no numbers for this sequence"


class Sampler:
    """Keeps three rows of scratch memory; not for two threads."""

    def __init__(self, n_vocab: int) -> None:
        self._n_vocab = n_vocab
        padded = -(-n_vocab // LANE) * LANE
        self._logits = np.full(padded, -np.inf, np.float32)
        self._weights = np.zeros(padded, np.float32)
        self._barriers = np.full((padded // 8, 8), -np.inf, np.float32)

    def sample(self, row: F32, sequence: Sequence, mask: bytes | None = None) -> Sampled:
        """The token after ``sequence.tokens``. ``row``: (n_vocab,) float32, left as it is.

        ``mask``: a bit for each token id that may come, the lowest first. Raises NoNumbersError.
        """
        request = sequence.request
        if math.isnan(row.max()):
            raise NoNumbersError
        adjusted = self._adjusted(row, sequence) if changes_logits(request) else row
        if mask is not None:
            adjusted = self._masked(adjusted, mask)
        if request.temperature < _COLDEST:
            token = int(adjusted.argmax())
        else:
            token = self._draw(adjusted, request, Draws(request.seed, request.choice, len(sequence.tokens)))
        return self._with_logprobs(row, token, request.n_logprobs) if request.n_logprobs >= 0 else Sampled(token)

    def _adjusted(self, row: F32, sequence: Sequence) -> F32:
        request, logits = sequence.request, self._logits[: self._n_vocab]
        logits[:] = row
        if request.repetition_penalty != 1.0:
            ids = np.unique(np.asarray(sequence.tokens, np.int64))
            values = logits[ids]
            penalty = np.float32(request.repetition_penalty)
            logits[ids] = np.where(values > 0, values / penalty, values * penalty)
        if sequence.counts and (request.presence_penalty or request.frequency_penalty):
            ids = np.fromiter(sequence.counts, np.int64)
            counts = np.fromiter(sequence.counts.values(), np.float32)
            logits[ids] -= np.float32(request.presence_penalty) + np.float32(request.frequency_penalty) * counts
        for token, bias in request.logit_bias:
            logits[int(token)] += np.float32(bias)
        return logits

    def _masked(self, logits: F32, mask: bytes) -> F32:
        """A table of eight summands a byte is ten times as fast as unpacking bits and putting values."""
        known = np.frombuffer(mask, np.uint8)[: len(self._barriers)]
        np.take(_BARRIERS, known, axis=0, out=self._barriers[: len(known)], mode="clip")
        masked = self._logits[: self._n_vocab]
        np.add(logits, self._barriers.reshape(-1)[: self._n_vocab], out=masked)
        return masked

    def _draw(self, logits: F32, request: Submit, draws: Draws) -> int:
        weights = self._weights[: self._n_vocab]
        np.subtract(logits, logits.max(), out=weights)
        with np.errstate(over="ignore", under="ignore"):
            np.multiply(weights, np.float32(1 / request.temperature), out=weights)
            np.exp(weights, out=weights)  # the likeliest token weighs 1
        if 0 < request.top_k < self._n_vocab:
            ids = greatest(self._weights, request.top_k)
            target = request.top_p * float(self._weights[ids].sum(dtype=np.float64))
            ids = ids[self._weights[ids] >= max(request.min_p, _LEAST)]  # weightless ids may be padding
            return _pick(ids, weights, _bound(request.top_p, target), draws)
        if request.min_p > 0:
            target = request.top_p * float(weights.sum(dtype=np.float64)) if request.top_p < 1 else 0.0
            return _pick(np.flatnonzero(weights >= request.min_p), weights, _bound(request.top_p, target), draws)
        return self._draw_from_all(weights, request.top_p, draws)

    def _draw_from_all(self, weights: F32, top_p: float, draws: Draws) -> int:
        ends = np.cumsum(self._weights.reshape(-1, LANE).sum(1), dtype=np.float64)
        target = top_p * float(ends[-1])
        if target <= 1:  # the likeliest token alone is the nucleus
            return _pick(np.flatnonzero(weights == 1), weights, math.inf, draws)
        for _ in range(_TRIES):
            token = self._draw_one(ends, draws)
            weight = self._weights[token]
            if weight > 0 and (top_p >= 1 or float(np.dot(weights, weights > weight)) < target):
                return token
        ids = np.flatnonzero(weights) if top_p >= 1 else nucleus(self._weights, target)
        return _pick(ids, weights, math.inf, draws)

    def _draw_one(self, ends: NDArray[np.float64], draws: Draws) -> int:
        """A token by its weight: first a lane, then a token in it. It may be one of weight 0, by rounding."""
        at = draws.uniform() * float(ends[-1])
        lane = min(int(np.searchsorted(ends, at, side="right")), len(ends) - 1)
        inside = np.cumsum(self._weights[lane * LANE : (lane + 1) * LANE], dtype=np.float64)
        rest = at - (float(ends[lane - 1]) if lane else 0.0)
        return lane * LANE + min(int(np.searchsorted(inside, rest, side="right")), LANE - 1)

    def _with_logprobs(self, row: F32, token: int, n_top: int) -> Sampled:
        logits, weights = self._logits, self._weights[: self._n_vocab]
        logits[: self._n_vocab] = row
        greatest_logit = row.max()
        np.exp(np.subtract(row, greatest_logit, out=weights), out=weights)
        norm = float(greatest_logit) + math.log(float(weights.sum()))
        top = greatest(logits, min(n_top, self._n_vocab))
        return Sampled(token, float(row[token]) - norm, tuple((int(t), float(row[t]) - norm) for t in top))


def changes_logits(request: Submit) -> bool:
    """The request has penalties or a bias."""
    return bool(
        request.repetition_penalty != 1.0 or request.presence_penalty or request.frequency_penalty or request.logit_bias
    )


def greatest(values: F32, k: int) -> Ids:
    """The ids of the ``k`` greatest values, best first. ``values``: a whole number of lanes.

    They lie in the ``k`` lanes with the greatest maxima. Which of equal values stands k-th is undefined.
    """
    if k == 0:
        return np.empty(0, np.int64)
    lanes = values.reshape(-1, LANE)
    if k < len(lanes):
        chosen = np.sort(np.argpartition(lanes.max(1), -k)[-k:])
        ids = (chosen[:, None] * LANE + np.arange(LANE)).ravel()
    else:
        ids = np.arange(values.size)
    candidates = values[ids]
    best = np.argpartition(candidates, -k)[-k:] if k < candidates.size else np.arange(candidates.size)
    best = np.sort(best)
    return ids[best[np.argsort(-candidates[best], kind="stable")]]


def nucleus(weights: F32, target: float) -> Ids:
    """The ids of the fewest likeliest tokens that weigh ``target`` together, and those as likely as the last one."""
    k = LANE
    while True:
        ids = greatest(weights, min(k, weights.size))
        ends = np.cumsum(weights[ids], dtype=np.float64)
        if ends[-1] >= target or len(ids) == weights.size:
            last = weights[ids[min(int(np.searchsorted(ends, target)), len(ids) - 1)]]
            return np.flatnonzero(weights >= max(last, _LEAST))
        k *= 8


def _bound(top_p: float, target: float) -> float:
    return target if top_p < 1 else math.inf


def _pick(ids: Ids, weights: F32, target: float, draws: Draws) -> int:
    """One of the ids by its weight; only of the likeliest that weigh ``target`` together, where that is finite."""
    values = weights[ids]
    if target < math.inf:
        order = np.argsort(-values, kind="stable")
        ids, values = ids[order], values[order]
        ends = np.cumsum(values, dtype=np.float64)
        last = values[min(int(np.searchsorted(ends, target)), len(ids) - 1)]
        kept = values >= last
        ids, values = ids[kept], values[kept]
    ends = np.cumsum(values, dtype=np.float64)
    return int(ids[min(int(np.searchsorted(ends, draws.uniform() * float(ends[-1]), side="right")), len(ids) - 1)])
