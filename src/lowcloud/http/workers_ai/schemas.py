"""The shapes of answers of the native API, for the OpenAPI document and for tests; the answers are written by hand."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, RootModel

from lowcloud.http.openai.schemas import V4Error
from lowcloud.http.workers_ai.options import OptionsBody


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Enveloped(_Shape):
    """Cloudflare's v4 envelope."""

    success: Literal[True]
    errors: list[V4Error]
    messages: list[str]


class NativeErrors(_Shape):
    """An error: ``result`` is an empty object where a model refuses, null where the API does."""

    errors: list[V4Error]
    success: Literal[False]
    result: dict[str, JsonValue] | None
    messages: list[str]


class ResultInfo(_Shape):
    page: int
    per_page: int
    count: int = Field(description="on this page")
    total_count: int
    total_pages: int


class CatalogueTask(_Shape):
    id: str
    name: str
    description: str


class CataloguePrice(_Shape):
    unit: str
    price: float = Field(description="what the service takes for one, in the currency; nothing is sold here")
    currency: Literal["USD"]


class CatalogueEfforts(_Shape):
    supported_efforts: list[str] | None = None
    default_effort: str | None = None
    normalizes_to: dict[str, str] | None = None
    mandatory: bool
    default_enabled: bool


class CatalogueProperty(_Shape):
    property_id: str = Field(description="ours begin with lowcloud_")
    value: str | list[CataloguePrice] | CatalogueEfforts


class CatalogueModel(_Shape):
    id: str = Field(description="a UUID; runs take the name")
    source: Literal[1]
    name: str
    description: str
    task: CatalogueTask
    created_at: str | None = Field(None, description="absent where it isn't known")
    tags: list[str]
    properties: list[CatalogueProperty]


class CatalogueModels(Enveloped):
    result: list[CatalogueModel]
    result_info: ResultInfo


class MarketplacePrices(_Shape):
    """Dollars a token, as text."""

    prompt: str
    completion: str
    input_cache_read: str | None = Field(None, description="absent where it isn't another")


class MarketplaceModel(_Shape):
    id: str
    name: str
    created: int
    hugging_face_id: str | None
    context_length: int
    max_output_length: int
    input_modalities: list[str]
    output_modalities: list[str]
    pricing: MarketplacePrices
    supported_features: list[str]
    supported_sampling_parameters: list[str]


class MarketplaceModels(Enveloped):
    """``result`` and ``data`` are the same."""

    result: list[MarketplaceModel]
    data: list[MarketplaceModel]
    result_info: ResultInfo


class FoundModels(RootModel[CatalogueModels | MarketplaceModels]):
    """The second with ``format=openrouter``."""


class CatalogueAuthor(_Shape):
    id: str
    name: str


class CatalogueAuthors(Enveloped):
    result: list[CatalogueAuthor]
    result_info: ResultInfo


class CatalogueTasks(Enveloped):
    result: list[CatalogueTask]
    result_info: ResultInfo


class InputAndOutput(_Shape):
    """JSON schemas."""

    input: dict[str, JsonValue]
    output: dict[str, JsonValue]


class ModelSchema(Enveloped):
    result: InputAndOutput


class ModelInputs(RootModel[dict[str, JsonValue]]):
    """As ``models/schema`` says of the model; beside them may stand ``options``."""


class UniversalRun(BaseModel):
    """``input`` is what the model takes."""

    model: str
    input: dict[str, JsonValue]
    options: OptionsBody | None = None


class RunResult(Enveloped):
    """``result`` is as ``models/schema`` says of the model."""

    result: JsonValue


class RunEvent(RootModel[dict[str, JsonValue]]):
    """The data of an event: of the classic shape, or a chat completion's chunk."""


class Nothing(Enveloped):
    """What a list holds of which there is nothing yet."""

    result: list[JsonValue] = Field(max_length=0)


class TokenState(_Shape):
    id: str
    status: Literal["active"]
    expires_on: str | None = Field(None, description="absent where it never does")


class VerifiedToken(_Shape):
    result: TokenState
    success: Literal[True]
    errors: list[V4Error]
    messages: list[dict[str, JsonValue]]
