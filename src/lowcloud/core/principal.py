"""Who calls: the identity that a token stands for."""

import re
from dataclasses import dataclass
from enum import StrEnum

ACCOUNT_ID = re.compile(r"[0-9a-f]{32}")
DEV_ACCOUNT = "0" * 32
MAX_ACCOUNT_CHARS = 200  # what the tables hold


class Permission(StrEnum):
    """What a token may do, in the names of Cloudflare's token groups."""

    WORKERS_AI_READ = "Workers AI Read"
    WORKERS_AI_WRITE = "Workers AI Write"
    AI_GATEWAY_READ = "AI Gateway Read"
    AI_GATEWAY_EDIT = "AI Gateway Edit"
    AI_GATEWAY_RUN = "AI Gateway Run"


@dataclass(frozen=True, slots=True)
class Principal:
    """``account_id`` is 32 hex digits, in ``dev`` any string of 1 to 200 characters; ``token_id`` is not the
    token, which ends at ``expires_at``, in seconds since 1970; None: never.
    """

    token_id: str
    account_id: str
    permissions: frozenset[Permission]
    expires_at: float | None = None
