"""``options``: what Cloudflare's API lets a caller ask of the run, beside what goes to the model."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from lowcloud.http.openai.parameters import note_unread


class RunOptions(BaseModel):
    """Other members are named in ``lowcloud-ignored``."""

    model_config = ConfigDict(strict=True)

    reject_if_busy: bool | None = Field(None, alias="rejectIfBusy", description="refuse what would have to wait")


class RunFields(BaseModel):
    """The base of a body with ``options``."""

    options: RunOptions | None = None

    def rejects_if_busy(self, raw: Mapping[str, Any], unread: dict[str, None]) -> bool:
        """Whether it is to be refused where it would have to wait; ``unread`` gets the names of what nothing reads."""
        note_unread(raw.get("options"), ("rejectIfBusy",), "options", unread)
        return self.options is not None and bool(self.options.reject_if_busy)
