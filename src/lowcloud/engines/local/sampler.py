"""Chooses a sequence's next token from one row of logits.

Order: penalties, then logit_bias; temperature; top_k; then top_p (of the mass that top_k leaves) and min_p (of the
likeliest token's probability), each on its own, and a token must pass both. Tokens as likely as the last one inside
top_p are inside too. Temperature 0 takes the likeliest token, the first of equals. Tokens outside a grammar's mask
are left out after penalties and logit_bias, so nothing brings them back. Log-probabilities are of the model's own
distribution, before all of that.

A row fits the processor's L2 cache, and nothing sorts the vocabulary: it is cut into lanes, whose peaks (greatest
values) are found once. They say which lanes the greatest values are in, and which ones hold tokens that are likelier
than another; a draw picks a lane and then a token in it, and top_p is done by rejection.
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
_LANE_IDS = np.arange(LANE)
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
        self._logits = np.empty(n_vocab, np.float32)
        self._weights = np.zeros(padded, np.float32)
        self._barriers = np.full((padded // 8, 8), -np.inf, np.float32)

    def sample(self, row: F32, sequence: Sequence, mask: bytes | None = None) -> Sampled:
        """The token after ``sequence.tokens``. ``row``: (n_vocab,) float32, left as it is.

        ``mask``: a bit for each token id that may come, the lowest first. Raises NoNumbersError.
        """
        request = sequence.request
        adjusted = self._adjusted(row, sequence) if changes_logits(request) else row
        if mask is not None:
            adjusted = self._masked(adjusted, mask)
        peaks = None
        if request.temperature < _COLDEST:
            token = int(adjusted.argmax())
            _require_number(adjusted[token])
        else:
            peaks = peaks_of(adjusted)
            draws = Draws(request.seed, request.choice, len(sequence.tokens))
            token = self._draw(adjusted, peaks, request, draws)
        if request.n_logprobs < 0:
            return Sampled(token)
        return self._with_logprobs(row, peaks if adjusted is row else None, token, request.n_logprobs)

    def _adjusted(self, row: F32, sequence: Sequence) -> F32:
        request, logits = sequence.request, self._logits
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
        return np.add(logits, self._barriers.reshape(-1)[: self._n_vocab], out=self._logits)

    def _draw(self, logits: F32, peaks: F32, request: Submit, draws: Draws) -> int:
        weights = self._weights[: self._n_vocab]
        greatest_logit = peaks.max()
        _require_number(greatest_logit)
        np.subtract(logits, greatest_logit, out=weights)
        with np.errstate(over="ignore", under="ignore"):
            np.multiply(weights, np.float32(1 / request.temperature), out=weights)
            np.exp(weights, out=weights)  # the likeliest token weighs 1
        if 0 < request.top_k < self._n_vocab:
            ids = greatest(logits, request.top_k, peaks)
            target = request.top_p * float(weights[ids].sum(dtype=np.float64))
            ids = ids[weights[ids] >= max(request.min_p, _LEAST)]
            return _pick(ids, weights, _bound(request.top_p, target), draws)
        if request.min_p > 0:
            target = request.top_p * float(weights.sum(dtype=np.float64)) if request.top_p < 1 else 0.0
            return _pick(np.flatnonzero(weights >= request.min_p), weights, _bound(request.top_p, target), draws)
        return self._draw_from_all(logits, peaks, request.top_p, draws)

    def _draw_from_all(self, logits: F32, peaks: F32, top_p: float, draws: Draws) -> int:
        weights = self._weights[: self._n_vocab]
        ends = self._weights.reshape(-1, LANE).sum(1).cumsum(dtype=np.float64)
        target = top_p * float(ends[-1])
        if target <= 1:  # the likeliest token alone is the nucleus
            return _pick(np.flatnonzero(weights == 1), weights, math.inf, draws)
        for _ in range(_TRIES):
            token = self._draw_one(ends, draws)
            if self._weights[token] > 0 and (top_p >= 1 or self._likelier(peaks > logits[token], token) < target):
                return token
        ids = np.flatnonzero(weights) if top_p >= 1 else nucleus(self._weights, target)
        return _pick(ids, weights, math.inf, draws)

    def _draw_one(self, ends: NDArray[np.float64], draws: Draws) -> int:
        """A token by its weight: first a lane, then a token in it. It may be one of weight 0, by rounding."""
        at = draws.uniform() * float(ends[-1])
        lane = min(int(ends.searchsorted(at, "right")), len(ends) - 1)
        inside = self._weights[lane * LANE : (lane + 1) * LANE].cumsum(dtype=np.float64)
        rest = at - (float(ends[lane - 1]) if lane else 0.0)
        return lane * LANE + min(int(inside.searchsorted(rest, "right")), LANE - 1)

    def _likelier(self, lanes: NDArray[np.bool_], token: int) -> float:
        """What the tokens likelier than this one weigh together. ``lanes``: those that have any."""
        weights = self._weights.reshape(-1, LANE)[lanes].ravel()
        return float(np.dot(weights, weights > self._weights[token]))

    def _with_logprobs(self, row: F32, peaks: F32 | None, token: int, n_top: int) -> Sampled:
        peaks = peaks_of(row) if peaks is None else peaks
        greatest_logit, weights = peaks.max(), self._weights[: self._n_vocab]
        np.exp(np.subtract(row, greatest_logit, out=weights), out=weights)
        norm = float(greatest_logit) + math.log(float(weights.sum()))
        top = greatest(row, min(n_top, self._n_vocab), peaks)
        logprobs = [logit - norm for logit in row[top].tolist()]
        return Sampled(token, float(row[token]) - norm, tuple(zip(top.tolist(), logprobs, strict=True)))


def _require_number(greatest_logit: np.float32) -> None:
    """numpy's greatest of values with NaN among them is NaN."""
    if math.isnan(greatest_logit):
        raise NoNumbersError


def changes_logits(request: Submit) -> bool:
    """The request has penalties or a bias."""
    return bool(
        request.repetition_penalty != 1.0 or request.presence_penalty or request.frequency_penalty or request.logit_bias
    )


def peaks_of(values: F32) -> F32:
    """The greatest value of each lane; NaN where there is one in it. The last lane may be short."""
    peaks: F32 = np.maximum.reduceat(values, np.arange(0, values.size, LANE))
    return peaks


def greatest(values: F32, k: int, peaks: F32 | None = None) -> Ids:
    """The ids of the ``k`` greatest values, best first, of equals the first. ``peaks``: those of the values, if known.

    They lie in the ``k`` lanes with the greatest peaks, and none is below the least of these. Which of the values that
    equal that one are there is undefined.
    """
    if k == 0:
        return np.empty(0, np.int64)
    peaks = peaks_of(values) if peaks is None else peaks
    if k < len(peaks):
        lanes = np.argpartition(peaks, -k)[-k:]
        lanes.sort()
        ids = (lanes[:, None] * LANE + _LANE_IDS).ravel()
        ids = ids[: ids.searchsorted(values.size)]
        candidates = values[ids]
        ids = ids[candidates >= peaks[lanes].min()]
    else:
        ids = np.sort(np.argpartition(values, -k)[-k:]) if k < values.size else np.arange(values.size)
    return ids[np.argsort(-values[ids], kind="stable")[:k]]


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
