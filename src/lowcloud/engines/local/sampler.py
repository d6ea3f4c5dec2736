"""Chooses a sequence's next token from one row of logits.

Order: penalties, then logit_bias; temperature; top_k; then top_p (of the mass that top_k leaves) and min_p (of the
likeliest token's probability), each on its own, and a token must pass both. Tokens as likely as the last one inside
top_p are inside too. Temperature 0 takes the likeliest token, the first of equals. Tokens outside a grammar's mask
are left out after penalties and logit_bias, so nothing brings them back. Log-probabilities are of the model's own
distribution, before all of that.

A row fits the processor's L2 cache, and nothing sorts the vocabulary. A row is taken as a table, whose columns' peaks
(greatest values) are found once: they say where its greatest values are, and the tokens likelier than another. A draw
picks a lane (tokens in line) and then a token in it, and top_p is done by rejection.
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
COLUMNS = 1024
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
    """Keeps four rows of scratch memory; not for two threads."""

    def __init__(self, n_vocab: int) -> None:
        self._n_vocab = n_vocab
        padded = -(-n_vocab // LANE) * LANE
        self._logits = np.empty(n_vocab, np.float32)
        self._behind = np.empty(n_vocab, np.float32)  # logits less the greatest of them
        self._weights = np.zeros(padded, np.float32)
        self._barriers = np.full((padded // 8, 8), -np.inf, np.float32)

    def sample(self, row: F32, sequence: Sequence, mask: bytes | None = None) -> Sampled:
        """The token after ``sequence.tokens``. ``row``: (n_vocab,) float32, left as it is.

        ``mask``: a bit for each token id that may come, the lowest first. Raises NoNumbersError.
        """
        request = sequence.request
        logits = self._adjusted(row, sequence) if changes_logits(request) else row
        if mask is not None:
            logits = self._masked(logits, mask)
        is_drawn = request.temperature >= _COLDEST
        token = 0 if is_drawn else int(logits.argmax())
        top = logits.max() if is_drawn else logits[token]
        if math.isnan(top):  # numpy's greatest of values with NaN among them
            raise NoNumbersError
        if is_drawn:
            np.subtract(logits, top, out=self._behind)
            peaks = peaks_of(logits)
            token = self._draw(logits, peaks, request, Draws(request.seed, request.choice, len(sequence.tokens)))
        if request.n_logprobs < 0:
            return Sampled(token)
        if logits is not row or not is_drawn:
            np.subtract(row, row.max(), out=self._behind)
            peaks = peaks_of(row)
        return Sampled(token, *self._logprobs(row, peaks, token, request.n_logprobs))

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
        """``_behind`` is that of the logits."""
        weights = self._weights[: self._n_vocab]
        with np.errstate(over="ignore", under="ignore"):
            np.multiply(self._behind, np.float32(1 / request.temperature), out=weights)
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
            return _pick((weights == 1).nonzero()[0], weights, math.inf, draws)
        for _ in range(_TRIES):
            token = self._draw_one(ends, draws)
            if self._weights[token] == 0:
                continue
            if top_p >= 1 or self._likelier(token, (peaks > logits[token]).nonzero()[0]) < target:
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

    def _likelier(self, token: int, columns: Ids) -> float:
        """What the tokens likelier than this one weigh together. ``columns``: those that have any."""
        weights, weight = self._weights[: self._n_vocab], self._weights[token]
        if len(columns) <= COLUMNS // 8:  # else putting them together takes longer than going through all
            weights = weights[_ids_in(columns, self._n_vocab)]
        return float(np.dot(weights, weights > weight))

    def _logprobs(self, row: F32, peaks: F32, token: int, n: int) -> tuple[float, tuple[tuple[int, float], ...]]:
        """Of the token and of the ``n`` likeliest. ``_behind`` and the peaks are those of the row."""
        np.exp(self._behind, out=self._weights[: self._n_vocab])
        sums = np.einsum("ij->i", self._weights.reshape(-1, LANE))  # faster than numpy's own sum
        norm = float(peaks.max()) + math.log(float(sums.sum(dtype=np.float64)))
        best = greatest(row, min(n, self._n_vocab), peaks)
        logprobs = [logit - norm for logit in row[best].tolist()]
        return float(row[token]) - norm, tuple(zip(best.tolist(), logprobs, strict=True))


def changes_logits(request: Submit) -> bool:
    """The request has penalties or a bias."""
    return bool(
        request.repetition_penalty != 1.0 or request.presence_penalty or request.frequency_penalty or request.logit_bias
    )


def peaks_of(values: F32) -> F32:
    """The greatest value of each column, NaN where there is one in it: (COLUMNS or fewer,)."""
    width = min(COLUMNS, values.size)
    n_whole = values.size // width * width
    peaks: F32 = values[:n_whole].reshape(-1, width).max(0)
    rest = values[n_whole:]
    np.maximum(peaks[: rest.size], rest, out=peaks[: rest.size])
    return peaks


def greatest(values: F32, k: int, peaks: F32 | None = None) -> Ids:
    """The ids of the ``k`` greatest values, best first, of equals the first. ``peaks``: those of the values, if known.

    They lie in the ``k`` columns with the greatest peaks, and none is below the least of these. Which of equal values
    stands k-th is undefined.
    """
    if k == 0:
        return np.empty(0, np.int64)
    peaks = peaks_of(values) if peaks is None else peaks
    if k < len(peaks):
        columns = peaks.argpartition(-k)[-k:]
        least = peaks[columns[0]]
        ids = _ids_in(np.sort(columns), values.size)
        ids = ids[values[ids] >= least]
    else:
        ids = np.sort(values.argpartition(-k)[-k:]) if k < values.size else np.arange(values.size)
    return ids[(-values[ids]).argsort(kind="stable")[:k]]


def _ids_in(columns: Ids, n: int) -> Ids:
    """The ids below ``n`` in these columns, given in order; in order, too."""
    ids = (np.arange(0, n, COLUMNS)[:, None] + columns).ravel()
    return ids[: ids.searchsorted(n)]


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
    if len(ids) == 1:
        return int(ids[0])
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
