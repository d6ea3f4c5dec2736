"""The logs of gateways as callers read and change them: each from the moment on that its call's answer has ended."""

import json
from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from lowcloud.core.errors import NotFound
from lowcloud.gateway.options import options_of_binding
from lowcloud.gateway.spool import Spool
from lowcloud.http.validation import validated
from lowcloud.storage.gateway_logs import UNSET, LogPatch, LogRow, LogStore


class LogNotFound(NotFound):
    """The gateway has no log of that id."""

    number = 7002

    def __init__(self) -> None:
        super().__init__("Log Not Found")


class PatchBody(BaseModel):
    """What may be said of a call afterwards; null takes it back."""

    model_config = ConfigDict(strict=True)

    feedback: Literal[-1, 0, 1] | None = Field(None, description="1: good, -1: bad")
    score: float | None = None
    metadata: dict[str, object] | None = Field(None, description="in the place of what there is")


class Logs:
    """One log at a time. A record that is still on its way to the database is there when it is asked for."""

    def __init__(self, store: LogStore, spool: Spool) -> None:
        self._store, self._spool = store, spool

    async def get(self, account_id: str, gateway_id: str, log_id: str) -> LogRow:
        """Raises LogNotFound."""
        row = await self._store.get(account_id, gateway_id, log_id)
        if row is None:
            await self._spool.move()
            row = await self._store.get(account_id, gateway_id, log_id)
        if row is None:
            raise LogNotFound
        return row

    async def patch(self, account_id: str, gateway_id: str, log_id: str, body: object) -> LogRow:
        """It as it is now. Raises LogNotFound, BadRequest."""
        patch = patch_of(body)
        await self.get(account_id, gateway_id, log_id)
        row = await self._store.patch(account_id, gateway_id, log_id, patch)
        if row is None:
            raise LogNotFound
        return row


def patch_of(body: object) -> LogPatch:
    """What changes. Raises BadRequest."""
    given = validated(PatchBody, body)
    is_there = given.model_fields_set
    kept = options_of_binding({"metadata": given.metadata}, at="body").metadata or {}
    return LogPatch(
        feedback=given.feedback if "feedback" in is_there else UNSET,
        score=given.score if "score" in is_there else UNSET,
        metadata=json.dumps(dict(kept)) if "metadata" in is_there else UNSET,
    )


def fields_of(row: LogRow) -> dict[str, object]:
    """A log as the API has it, where ``metadata`` is JSON in a string."""
    at = datetime.fromtimestamp(row.created_at, UTC)
    return {
        "id": row.id,
        "created_at": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "provider": row.provider,
        "model": row.model,
        "model_type": row.model_type,
        "path": row.path,
        "duration": round(row.duration_ms),
        "status_code": row.status_code,
        "success": row.success,
        "cached": row.cached,
        "step": row.step,
        "tokens_in": row.tokens_in,
        "tokens_out": row.tokens_out,
        "cost": row.cost,
        "custom_cost": row.custom_cost,
        "metadata": row.metadata,
        "event_id": row.event_id,
        "feedback": row.feedback,
        "score": row.score,
        "request_type": row.request_type,
        "request_content_type": row.request_content_type,
        "request_size": row.request_size,
        "request_head": row.request_head,
        "request_head_complete": row.request_head_complete,
        "response_content_type": row.response_content_type,
        "response_size": row.response_size,
        "response_head": row.response_head,
        "response_head_complete": row.response_head_complete,
        "user_agent": row.user_agent,
        "authentication": row.authentication,
        "wholesale": row.wholesale,
        "compatibilityMode": row.compatibility_mode,
        "dlp_action": row.dlp_action,
    }
