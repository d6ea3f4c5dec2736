"""What the native run takes and gives for text generation and embeddings, as ``models/schema`` shows it.

Source: Cloudflare docs, Workers AI › Models, read 2026-11.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from lowcloud.http.openai.chat_messages import ChatMessage
from lowcloud.http.openai.chat_tools import FunctionTool
from lowcloud.http.openai.schemas import ChatCompletion, Completion

Text = Annotated[str, Field(min_length=1)]
Events = Annotated[str, Field(json_schema_extra={"format": "binary", "contentType": "text/event-stream"})]
Penalty = Annotated[float, Field(ge=-2, le=2)]


class _Shape(BaseModel):
    model_config = ConfigDict(strict=True)


class NativeFormat(_Shape):
    """``json_schema`` is the schema itself, or OpenAI's object around it."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonValue = None


class BareTool(_Shape):
    """A function, without OpenAI's object around it."""

    name: str
    description: str = ""
    parameters: dict[str, JsonValue]


class TextOptions(_Shape):
    raw: bool = Field(False, description="the prompt goes to the model as it is, without its chat template")
    stream: bool = False
    max_tokens: int | None = Field(None, ge=1)
    temperature: Annotated[float, Field(ge=0, le=5)] | None = None
    top_p: Annotated[float, Field(ge=0, le=2)] | None = None
    top_k: Annotated[int, Field(ge=1)] | None = None
    seed: int | None = None
    repetition_penalty: Annotated[float, Field(ge=0, le=2)] | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    lora: str | None = None
    response_format: NativeFormat | None = None
    guided_json: dict[str, JsonValue] | None = Field(None, description="the older form of response_format")


class PromptInput(TextOptions):
    """A text to go on with."""

    prompt: Text


class MessagesInput(TextOptions):
    """A conversation to answer."""

    messages: list[ChatMessage] = Field(min_length=1)
    tools: list[BareTool | FunctionTool] | None = None


class NativeUsage(_Shape):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class NativeCall(_Shape):
    name: str
    arguments: dict[str, JsonValue]


class TextAnswer(_Shape):
    """``response`` is an object where the request has a ``response_format``."""

    response: str | dict[str, JsonValue]
    tool_calls: list[NativeCall] = Field(default_factory=list)
    usage: NativeUsage


TextInput = PromptInput | MessagesInput
TextOutput = TextAnswer | Events
ChatOutput = ChatCompletion | Completion | Events


class TextsInput(_Shape):
    text: Text | list[Text]


class PooledInput(TextsInput):
    """``cls`` is what the model was trained for; the vectors of the two don't go together."""

    pooling: Literal["mean", "cls"] = "mean"


class M3TextsInput(TextsInput):
    truncate_inputs: bool = False


class M3Context(_Shape):
    text: Text


class M3ContextsInput(_Shape):
    """Contexts to score for a query, or without one to embed."""

    query: Text | None = None
    contexts: list[M3Context] = Field(min_length=1)
    truncate_inputs: bool = False


class QwenInput(_Shape):
    """Queries get the instruction, documents don't; ``text`` is another name of documents."""

    queries: Text | list[Text] | None = None
    documents: Text | list[Text] | None = None
    text: Text | list[Text] | None = None
    instruction: str = "Given a web search query, retrieve relevant passages that answer the query"


class Vectors(_Shape):
    """``shape`` is how many vectors of how many numbers."""

    shape: list[int] = Field(min_length=2, max_length=2)
    data: list[list[float]]


class PooledVectors(Vectors):
    pooling: Literal["mean", "cls"]


class M3Score(_Shape):
    """``id`` is the context's place in the request."""

    id: int
    score: float


class M3Scores(_Shape):
    response: list[M3Score]


class M3ContextVectors(_Shape):
    response: list[list[float]]
    shape: list[int]
    pooling: Literal["mean", "cls"]
