"""Tokens of this server that stand where a provider's key is due: they say who calls, and no provider gets one.

Source: Cloudflare docs, AI Gateway › Bring your own keys, whose examples send Cloudflare's token so; read 2026-11.
"""

from collections.abc import Sequence
from urllib.parse import unquote

from lowcloud.gateway.call import OURS, Call, Step
from lowcloud.http.auth import Auth

PREFIX = "lowcloud_"  # of all our tokens


async def without_own_tokens(steps: Sequence[Step], auth: Auth) -> tuple[tuple[Step, ...], str]:
    """The steps as other people's models may see them, and the first token of ours that was in one, else ''."""
    found: dict[str, bool] = {}
    for step in steps:
        for token in _candidates(step.call):
            if token not in found:
                found[token] = await auth.knows(token)
    ours = {token for token, is_ours in found.items() if is_ours}
    if not ours:
        return tuple(steps), ""
    cleaned = (step._replace(call=_without(step.call, ours)) for step in steps)
    return tuple(cleaned), next(token for token in found if token in ours)


def _candidates(call: Call) -> list[str]:
    """What has the form of our tokens; our own models may see theirs."""
    if call.provider == OURS:
        return []
    said = [_last_word(value) for _, value in call.headers if PREFIX in value]
    if call.query:
        said += (_value(pair) for pair in call.query.split("&"))
    return [each for each in said if each.startswith(PREFIX)]


def _without(call: Call, ours: set[str]) -> Call:
    if call.provider == OURS:
        return call
    headers = tuple(each for each in call.headers if _last_word(each[1]) not in ours)
    query = "&".join(pair for pair in call.query.split("&") if _value(pair) not in ours)
    return call._replace(headers=headers, query=query)


def _last_word(value: str) -> str:
    """A key without its scheme."""
    return value.strip().rpartition(" ")[2]


def _value(pair: str) -> str:
    return unquote(pair.partition("=")[2])
