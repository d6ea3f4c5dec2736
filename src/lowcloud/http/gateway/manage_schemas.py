"""The shapes of the management API's answers, for the OpenAPI document and for tests; answers are written by hand."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from lowcloud.http.openai.schemas import V4Error
from lowcloud.http.workers_ai.schemas import Enveloped, ResultInfo


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class ManageErrors(_Shape):
    """An error."""

    errors: list[V4Error]
    success: Literal[False]
    result: None
    messages: list[str]


class GatewayObject(_Shape):
    id: str
    created_at: str
    modified_at: str
    is_default: bool
    cache_invalidate_on_update: bool
    cache_ttl: int | None
    collect_logs: bool
    rate_limiting_interval: int | None
    rate_limiting_limit: int | None
    rate_limiting_technique: Literal["fixed", "sliding"] | None
    authentication: bool
    byok_only: bool
    log_management: int | None
    log_management_strategy: Literal["STOP_INSERTING", "DELETE_OLDEST"] | None
    retry_backoff: Literal["constant", "linear", "exponential"] | None
    retry_delay: int | None
    retry_max_attempts: int | None
    spend_limits: dict[str, JsonValue] | None
    workers_ai_billing_mode: Literal["postpaid"]
    zdr: bool
    dlp: None
    guardrails: None
    log_classification: Literal[False]
    logpush: Literal[False]
    logpush_public_key: None
    otel: list[JsonValue] = Field(max_length=0)
    store_id: None
    stripe: None


class OneGateway(Enveloped):
    result: GatewayObject


class GatewayList(Enveloped):
    result: list[GatewayObject]
    result_info: ResultInfo


class ListedLog(_Shape):
    """``metadata`` is a JSON object in a string, ``duration`` milliseconds, ``cost`` dollars."""

    id: str
    created_at: str
    provider: str
    model: str
    model_type: str
    path: str
    duration: int
    status_code: int
    success: bool
    cached: bool
    step: int
    tokens_in: int | None
    tokens_out: int | None
    cost: float | None
    custom_cost: bool
    metadata: str
    event_id: str
    feedback: int | None
    score: float | None
    request_type: str
    request_content_type: str
    response_content_type: str
    user_agent: str
    authentication: bool
    wholesale: bool
    compatibilityMode: bool  # noqa: N815 - the API's own name
    dlp_action: str


class LogObject(ListedLog):
    """With the first kilobyte of its bodies."""

    request_size: int
    request_head: str
    request_head_complete: bool
    response_size: int
    response_head: str
    response_head_complete: bool


class OneLog(Enveloped):
    result: LogObject


class LogsInfo(ResultInfo):
    """The least and the greatest are there with ``meta_info``; null: no log has any."""

    min_cost: float | None = None
    max_cost: float | None = None
    min_duration: float | None = None
    max_duration: float | None = None
    min_tokens_in: float | None = None
    max_tokens_in: float | None = None
    min_tokens_out: float | None = None
    max_tokens_out: float | None = None
    min_total_tokens: float | None = None
    max_total_tokens: float | None = None


class LogList(Enveloped):
    result: list[ListedLog]
    result_info: LogsInfo


class Done(Enveloped):
    result: None


class ProviderConfigObject(_Shape):
    id: str
    gateway_id: str
    provider_slug: str
    alias: str
    default_config: bool
    secret_id: str
    secret_preview: str = Field(description="the key's last characters, where it has many")
    rate_limit: int | None
    rate_limit_period: int | None
    created_at: str
    modified_at: str


class OneProviderConfig(Enveloped):
    result: ProviderConfigObject


class ProviderConfigList(Enveloped):
    result: list[ProviderConfigObject]
    result_info: ResultInfo


class CustomProviderObject(_Shape):
    id: str
    name: str
    slug: str
    base_url: str
    enable: bool
    description: str | None
    link: str | None
    beta: bool
    curl_example: str | None
    js_example: str | None
    position: int | None
    headers: None
    logo: None
    created_at: str
    modified_at: str


class OneCustomProvider(Enveloped):
    result: CustomProviderObject


class CustomProviderList(Enveloped):
    result: list[CustomProviderObject]
    result_info: ResultInfo


class ProviderUrl(Enveloped):
    result: str
