"""What a caller asks of the gateway: in headers, a step's config, a binding's options; and which of it wins. Pure.

Precedence: a step's own, then the request's, then the gateway's settings. Source: Cloudflare docs, AI Gateway › Header
glossary, › Universal endpoint and › Worker binding methods, read 2026-11.
"""

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias, TypeVar, get_args

from lowcloud.gateway.config import Backoff, GatewayConfig
from lowcloud.gateway.errors import BadOption

T = TypeVar("T")

MIN_TTL_S, MAX_TTL_S = 60, 30 * 86_400
KEY_TTL_S = 300  # of a custom key, where nothing else turns the cache on
MAX_ATTEMPTS = 5
MAX_DELAY_MS = 5_000  # that a call may ask for
MAX_GATEWAY_DELAY_MS = 60_000  # that a gateway may be set to, as the official SDKs have it
DELAY_MS = 1_000  # between attempts, where only their number is asked for
MAX_TIMEOUT_MS = 86_400_000
MAX_METADATA = 5
MAX_COST = 1e6
MAX_CHARS = 1_024
MAX_EVENT_ID_CHARS = 200  # what a log holds, so that it is found by its whole event id
BYOK_ALIAS = "cf-aig-byok-alias"

# What chooses among models, in routes that come later.
LATER: Mapping[str, str] = MappingProxyType(
    {
        "cf-aig-session-id": "the Auto Router",
        "cf-aig-turn-id": "the Auto Router",
        "cf-aig-no-session-affinity": "the Auto Router",
        "cf-aig-allowed-models": "the Auto Router",
        "cf-aig-allowed-providers": "the Auto Router",
    }
)


@dataclass(frozen=True, slots=True)
class CustomCost:
    """Dollars a token, or of the whole call."""

    per_token_in: float | None = None
    per_token_out: float | None = None
    per_cache_read_token: float | None = None
    per_cache_write_token: float | None = None
    total_cost: float | None = None


@dataclass(frozen=True, slots=True)
class Options:
    """What one place asks for; None: nothing. ``cache_ttl_s`` 0 turns the cache off; ``max_attempts`` has the first."""

    cache_ttl_s: int | None = None
    skips_cache: bool | None = None
    cache_key: str | None = None
    collect_log: bool | None = None
    collect_log_payload: bool | None = None
    metadata: Mapping[str, object] | None = None
    custom_cost: CustomCost | None = None
    event_id: str | None = None
    request_timeout_ms: int | None = None
    max_attempts: int | None = None
    retry_delay_ms: int | None = None
    backoff: Backoff | None = None
    byok_alias: str | None = None
    zdr: bool | None = None


NOTHING = Options()
_NAMES = tuple(each.name for each in fields(Options))


class Settled(NamedTuple):
    """What counts for one step. ``cache_ttl_s`` 0: neither looked up nor kept. ``max_attempts`` has the first."""

    cache_ttl_s: int
    cache_key: str | None
    collect_log: bool
    collect_log_payload: bool
    metadata: Mapping[str, object]
    custom_cost: CustomCost | None
    event_id: str | None
    request_timeout_ms: int | None
    max_attempts: int
    retry_delay_ms: int
    backoff: Backoff
    byok_alias: str | None
    zdr: bool


def merged(step: Options, request: Options, config: GatewayConfig) -> Settled:
    """What counts for a step of a request to a gateway."""
    asked = over(step, request)
    return Settled(
        cache_ttl_s=_ttl_s(asked, config),
        cache_key=asked.cache_key,
        collect_log=_first(asked.collect_log, config.collect_logs),
        collect_log_payload=_first(asked.collect_log_payload, True),
        metadata=_first(asked.metadata, {}),
        custom_cost=asked.custom_cost,
        event_id=asked.event_id,
        request_timeout_ms=asked.request_timeout_ms,
        max_attempts=_first(asked.max_attempts, _first(config.retry_max_attempts, 1)),
        retry_delay_ms=_first(asked.retry_delay_ms, _first(config.retry_delay_ms, DELAY_MS)),
        backoff=_first(asked.backoff, _first(config.retry_backoff, "constant")),
        byok_alias=asked.byok_alias,
        zdr=_first(asked.zdr, config.zdr),
    )


def over(first: Options, second: Options) -> Options:
    """What ``first`` asks for, and for the rest ``second``. Metadata isn't mixed: one of them counts whole."""
    if first == NOTHING:
        return second
    return Options(**{name: _first(getattr(first, name), getattr(second, name)) for name in _NAMES})


def _ttl_s(asked: Options, config: GatewayConfig) -> int:
    if asked.skips_cache or _first(asked.zdr, config.zdr):
        return 0
    if asked.cache_ttl_s is not None:
        return asked.cache_ttl_s
    return config.cache_ttl_s or (0 if asked.cache_key is None else KEY_TTL_S)


def _first(value: T | None, otherwise: T) -> T:
    return otherwise if value is None else value


def is_ours(header: str) -> bool:
    """Whether a header is for the gateway: such ones never go to a provider."""
    name = header.lower()
    return name.startswith("cf-aig-") or name in HEADERS


def later_of(headers: Sequence[tuple[str, str]]) -> list[str]:
    """Those of the headers that ask for what isn't done yet and would change the answer: to be refused by name."""
    return [name for name in _ours(headers) if name in LATER]


def ours_of(headers: Sequence[tuple[str, str]]) -> list[str]:
    """All that ask something of a gateway: where a call names none, they are to be named as ignored."""
    return [name for name in _ours(headers) if name not in _ELSEWHERE]


def unknown_of(headers: Sequence[tuple[str, str]]) -> list[str]:
    """Those of the gateway's headers that nobody here knows: to be named as ignored."""
    return [name for name in _ours(headers) if name not in HEADERS and name not in LATER and name not in _ELSEWHERE]


def _ours(headers: Sequence[tuple[str, str]]) -> list[str]:
    return list(dict.fromkeys(name.lower() for name, _ in headers if name[:3].lower() == "cf-" and is_ours(name)))


def options_of(headers: Sequence[tuple[str, str]]) -> Options:
    """What headers ask for: of each name the first counts, the new names before the old.

    Raises BadOption, which names the header.
    """
    if not any(name[:3].lower() == "cf-" for name, _ in headers):
        return NOTHING
    given = {name.lower(): value for name, value in reversed(headers)}
    found = {HEADERS[name]: (name, given[name]) for name in reversed(list(HEADERS)) if name in given}
    return _options(found)


def options_of_config(config: Mapping[str, object], *, at: str = "config") -> Options:
    """What a universal step's ``config`` asks for. Raises BadOption with the field's path, which begins with ``at``."""
    return _options(_found(config, CONFIG, at))


def options_of_binding(gateway: Mapping[str, object], *, at: str = "gateway") -> Options:
    """What ``options.gateway`` of a binding or of a REST call asks for, beside its ``id``. Raises as for a config."""
    retries = gateway.get("retries")
    if retries is not None and not isinstance(retries, Mapping):
        raise BadOption(f"{at}.retries: an object is needed.", param=f"{at}.retries")
    return _options({**_found(gateway, BINDING, at), **_found(retries or {}, RETRIES, f"{at}.retries")})


_Found: TypeAlias = Mapping[str, tuple[str, object]]  # by an option's name: where it stands, and what


def _found(given: Mapping[str, object], names: Mapping[str, str], at: str) -> _Found:
    return {option: (f"{at}.{name}", given[name]) for name, option in names.items() if given.get(name) is not None}


def _options(found: _Found) -> Options:
    read: dict[str, Any] = {}
    for option, (name, value) in found.items():
        try:
            read[option] = _READERS[option](value)
        except ValueError as error:
            raise BadOption(f"{name}: {error}", param=name) from None
    return Options(**read)


def _whole(least: int, most: int, *, zero: bool = False) -> Callable[[object], int]:
    """Reads a whole number within bounds, as a number or as digits; 0 too where ``zero`` has a meaning of its own."""

    def read(value: object) -> int:
        number = _number(value)
        if number is None or not (least <= number <= most or (zero and number == 0)):
            raise ValueError(f"a whole number from {least} to {most}{', or 0,' if zero else ''} is needed.")
        return number

    return read


def _number(value: object) -> int | None:
    if isinstance(value, str) and re.fullmatch(r"\s*[0-9]{1,12}\s*", value):
        value = int(value)
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) and value % 1 == 0 else None


def _truth(value: object) -> bool:
    word = str(value).strip().lower()
    if not isinstance(value, bool | str) or word not in {"true", "false"}:
        raise ValueError("true or false is needed.")
    return word == "true"


def _text(value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= MAX_CHARS or not _is_plain(value):
        raise ValueError(f"a text of 1 to {MAX_CHARS} characters is needed.")
    return value


def _event_id(value: object) -> str:
    text = _printable(value)
    if len(text) > MAX_EVENT_ID_CHARS:
        raise ValueError(f"a text of 1 to {MAX_EVENT_ID_CHARS} characters is needed.")
    return text


def _printable(value: object) -> str:
    """What can stand in a header."""
    text = _text(value)
    if not (text.isascii() and text.isprintable()):
        raise ValueError("printable ASCII is needed.")
    return text


def _backoff(value: object) -> Backoff:
    found: Backoff | None = next((each for each in get_args(Backoff) if each == value), None)
    if found is None:
        raise ValueError(f"one of {', '.join(get_args(Backoff))} is needed.")
    return found


def _metadata(value: object) -> Mapping[str, object]:
    """The first five entries that aren't nested."""
    found: dict[str, object] = {}
    for name, each in _object(value).items():
        if len(found) == MAX_METADATA:
            break
        if max(len(name), len(each) if isinstance(each, str) else 0) > MAX_CHARS:
            raise ValueError(f"names and texts of at most {MAX_CHARS} characters are needed.")
        if _is_plain(name) and _is_plain(each):
            found[name] = each
    return found


def _custom_cost(value: object) -> CustomCost:
    given = _object(value)
    known = {each.name: given[each.name] for each in fields(CustomCost) if given.get(each.name) is not None}
    if not known:
        raise ValueError(f"at least one of {', '.join(each.name for each in fields(CustomCost))} is needed.")
    return CustomCost(**{name: _price(name, each) for name, each in known.items()})


def _price(name: str, value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= MAX_COST:
        raise ValueError(f"{name}: a number from 0 to {MAX_COST:,.0f} is needed.")
    return float(value)


def _object(value: object) -> Mapping[str, object]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise ValueError("a JSON object is needed.") from None
    if not isinstance(value, Mapping):
        raise ValueError("a JSON object is needed.")  # noqa: TRY004  # a reader's one way to refuse
    return value


def _is_plain(value: object) -> bool:
    """Whether a value isn't nested, and can be written as JSON again."""
    match value:
        case str():
            return not any("\ud800" <= character <= "\udfff" for character in value)
        case float():
            return math.isfinite(value)
        case _:
            return value is None or isinstance(value, bool | int)


_READERS: Mapping[str, Callable[[object], object]] = MappingProxyType(
    {
        "cache_ttl_s": _whole(MIN_TTL_S, MAX_TTL_S, zero=True),
        "skips_cache": _truth,
        "cache_key": _text,
        "collect_log": _truth,
        "collect_log_payload": _truth,
        "metadata": _metadata,
        "custom_cost": _custom_cost,
        "event_id": _event_id,
        "request_timeout_ms": _whole(1, MAX_TIMEOUT_MS),
        "max_attempts": _whole(1, MAX_ATTEMPTS),
        "retry_delay_ms": _whole(0, MAX_DELAY_MS),
        "backoff": _backoff,
        "byok_alias": _printable,
        "zdr": _truth,
    }
)

# By header: an option's name. The new names stand before the old.
HEADERS: Mapping[str, str] = MappingProxyType(
    {
        "cf-aig-cache-ttl": "cache_ttl_s",
        "cf-aig-skip-cache": "skips_cache",
        "cf-aig-cache-key": "cache_key",
        "cf-aig-collect-log": "collect_log",
        "cf-aig-collect-log-payload": "collect_log_payload",
        "cf-aig-metadata": "metadata",
        "cf-aig-custom-cost": "custom_cost",
        "cf-aig-event-id": "event_id",
        "cf-aig-request-timeout": "request_timeout_ms",
        "cf-aig-max-attempts": "max_attempts",
        "cf-aig-retry-delay": "retry_delay_ms",
        "cf-aig-backoff": "backoff",
        BYOK_ALIAS: "byok_alias",
        "cf-aig-zdr": "zdr",
        "cf-cache-ttl": "cache_ttl_s",
        "cf-skip-cache": "skips_cache",
    }
)
_ELSEWHERE = frozenset({"cf-aig-authorization", "cf-aig-gateway-id"})

RETRIES: Mapping[str, str] = MappingProxyType(
    {"maxAttempts": "max_attempts", "retryDelayMs": "retry_delay_ms", "backoff": "backoff"}
)
_SHARED: Mapping[str, str] = MappingProxyType(
    {
        "cacheTtl": "cache_ttl_s",
        "skipCache": "skips_cache",
        "cacheKey": "cache_key",
        "metadata": "metadata",
        "collectLog": "collect_log",
        "eventId": "event_id",
    }
)
CONFIG: Mapping[str, str] = MappingProxyType(
    {
        **_SHARED,
        "requestTimeout": "request_timeout_ms",
        "maxAttempts": "max_attempts",
        "retryDelay": "retry_delay_ms",
        "backoff": "backoff",
    }
)
BINDING: Mapping[str, str] = MappingProxyType({**_SHARED, "requestTimeoutMs": "request_timeout_ms"})
