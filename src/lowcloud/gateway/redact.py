"""Secrets out of what is logged. Pure, and linear in time. Values of headers are never logged, so none come here."""

import re
from collections.abc import Iterator, Sequence

REDACTED = b"[redacted]"
_NAMES = rb"api[_-]?key|apikey|access[_-]?token|auth[_-]?token|client[_-]?secret|x-api-key|xi-api-key|x-goog-api-key"
# Beginnings that providers give their keys, with the fewest characters that follow.
_KEYS = re.compile(
    rb"(?<![A-Za-z0-9])(?:"
    rb"sk-[A-Za-z0-9_-]{16,}|sk_[A-Za-z0-9]{20,}|AIza[A-Za-z0-9_-]{30,}|gsk_[A-Za-z0-9]{20,}|xai-[A-Za-z0-9]{20,}"
    rb"|r8_[A-Za-z0-9]{20,}|hf_[A-Za-z0-9]{20,}|pplx-[A-Za-z0-9]{20,}|csk-[A-Za-z0-9]{20,}|fw_[A-Za-z0-9]{20,}"
    rb"|ya29\.[A-Za-z0-9_.-]{20,}|lowcloud_[A-Za-z0-9_-]{20,}"
    rb")"
)
# Words follow these schemes in prose too: a credential is longer, and isn't all of small letters.
_SCHEMES = re.compile(
    rb"(?<![A-Za-z0-9])((?i:bearer|basic)[ \t]{1,4})"
    rb"(?=[0-9._~+/=-]|[A-Za-z][a-z.-]*+[A-Z0-9_~+/=])[A-Za-z0-9._~+/=-]{8,}"
)
_PARAMETERS = re.compile(rb"(?i)([?&](?:key|" + _NAMES + rb")=)[^&#\s\"'<>\\]+")
_SPACE = rb"[ \t\r\n]{0,8}"
_MEMBERS = re.compile(
    rb"(?i)(\"(?:authorization|" + _NAMES + rb")\"" + _SPACE + rb":" + _SPACE + rb"\")(?:[^\"\\]|\\.)++", re.DOTALL
)
_INNER_MEMBERS = re.compile(  # of JSON in a string
    rb"(?i)(\\\"(?:authorization|" + _NAMES + rb")\\\"" + _SPACE + rb":" + _SPACE + rb"\\\")[^\"\\]+"
)


# Without these in it no pattern can match; looking for them is a hundred times as fast as matching.
_OF_KEYS = (
    *(b"sk-", b"sk_", b"aiza", b"gsk_", b"xai-", b"r8_", b"hf_", b"pplx-", b"csk-", b"fw_", b"ya29.", b"lowcloud_"),
)
_OF_SCHEMES = (b"bearer", b"basic")
_OF_NAMES = (b"key", b"secret", b"access", b"auth")
_BEGUN = (_SCHEMES, _KEYS)  # these patterns' matches begin with a mark
MOST_MARKS = 10_000
_WITH_MARK = rb"\1" + REDACTED
# Bytes made alike, so that one look stands for several: capitals are small letters, "-" and "." are "_", and what
# stands before those in the beginnings of keys is "k".
_FOLD = bytes.maketrans(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZ-.fiwx89",
    b"abcdekghkjklmnopqrstuvkkyz__kkkkkk",
)
_STEPS = (  # what is looked for among bytes made alike, and then at the bytes; what is matched, and put in its place
    (_OF_NAMES, _OF_NAMES, (_MEMBERS, _INNER_MEMBERS, _PARAMETERS), _WITH_MARK),
    ((b"bearer", b"baskc"), _OF_SCHEMES, (_SCHEMES,), _WITH_MARK),
    ((b"k_", b"akza", b"lokcloud_"), _OF_KEYS, (_KEYS,), REDACTED),
)


def redacted(data: bytes) -> bytes:
    """``data`` with each secret that is known by its form, or by the name before it, replaced by ``[redacted]``."""
    alike, small = data.translate(_FOLD), b""
    for looks, marks, patterns, safe in _STEPS:
        if not _has_any(alike, looks):
            continue
        small = small or data.lower()
        if _has_any(small, marks):
            for pattern in patterns:
                data = pattern.sub(safe, data) if pattern not in _BEGUN else _at_marks(pattern, marks, safe, data)
    return data


def _has_any(data: bytes, marks: Sequence[bytes]) -> bool:
    for mark in marks:  # noqa: SIM110 - any() of a generator costs more than most looks
        if mark in data:
            return True
    return False


def _at_marks(pattern: re.Pattern[bytes], marks: Sequence[bytes], safe: bytes, data: bytes) -> bytes:
    """As ``pattern.sub``, where each match begins with a mark: those are found in a tenth of the time, and others
    run between them, who can't while a pattern goes through ten megabytes.
    """
    small = data.lower()
    if sum(map(small.count, marks)) > MOST_MARKS:
        return pattern.sub(safe, data)
    kept, end = [], 0
    for place in sorted({place for mark in marks for place in _places(small, mark)}):
        found = pattern.match(data, place) if place >= end else None
        if found is not None:
            kept += [data[end:place], found.expand(safe)]
            end = found.end()
    return b"".join([*kept, data[end:]])


def _places(data: bytes, mark: bytes) -> Iterator[int]:
    place = data.find(mark)
    while place >= 0:
        yield place
        place = data.find(mark, place + 1)


def redacted_query(query: str) -> str:
    """The same for a URL's raw query, without its question mark."""
    return redacted(b"?" + query.encode("utf-8", "replace"))[1:].decode("utf-8", "replace")
