"""Randomness without state: a Philox4x64-10 stream for every (seed, choice, position).

A token's draws depend on nothing but its own place, so a sequence that goes on after a crash, or was swapped out,
draws what it would have drawn. Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011. The numbers
are those of ``numpy.random.Philox`` with the key (seed mod 2**64, choice) and the counter (0, position, 0, 0).
"""

_WORD = 2**64 - 1
_MULTIPLIERS = 0xD2E7470EE14C6C93, 0xCA5A826395121157
_WEYL = 0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B
_ROUNDS = 10


def philox(counter: tuple[int, int, int, int], key: tuple[int, int]) -> tuple[int, int, int, int]:
    """Four random 64-bit words."""
    a, b, c, d = counter
    k, m = key
    for _ in range(_ROUNDS):
        left, right = a * _MULTIPLIERS[0], c * _MULTIPLIERS[1]
        a, b, c, d = (right >> 64) ^ b ^ k, right & _WORD, (left >> 64) ^ d ^ m, left & _WORD
        k, m = (k + _WEYL[0]) & _WORD, (m + _WEYL[1]) & _WORD
    return a, b, c, d


class Draws:
    """Uniform numbers in [0, 1) for one token. ``seed`` is any integer, taken modulo 2**64."""

    def __init__(self, seed: int, choice: int, position: int) -> None:
        self._key, self._position = (seed & _WORD, choice), position
        self._block = 0
        self._words: list[int] = []

    def uniform(self) -> float:
        """The next number: 53 random bits."""
        if not self._words:
            self._block += 1
            self._words = list(reversed(philox((self._block, self._position, 0, 0), self._key)))
        return (self._words.pop() >> 11) * 2.0**-53
