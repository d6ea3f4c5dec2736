"""The body of an embeddings request: what is accepted, and what it asks for."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, SkipValidation

from lowcloud.core.errors import BadRequest
from lowcloud.core.messages import Text, Tokens
from lowcloud.core.requests import Embed
from lowcloud.http.openai.parameters import Fate, named, refuse
from lowcloud.http.openai.run_options import RunFields
from lowcloud.http.validation import validated

MAX_INPUTS = 2_048
MAX_TOKEN_ID = 2**31 - 1
TokenIds = list[Annotated[int, Field(ge=0)]]


class EmbeddingsBody(RunFields):
    """The parameters that are read. Others are refused or named in ``lowcloud-ignored``."""

    model_config = ConfigDict(strict=True, title="CreateEmbeddings")

    model: str = Field(description="an id of GET models; there is no default")
    input: Annotated[str | list[str] | TokenIds | list[TokenIds], SkipValidation] = Field(
        description="a text, or up to 2,048; token ids only where they are switched on"
    )
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Field(ge=1, lt=2**31)] | None = None
    user: str | None = None
    pooling: Literal["mean", "cls"] | None = Field(None, description="else the model's own")
    truncate: bool | None = Field(None, description="cut inputs over the model's limit instead of refusing them")


REFUSED: dict[str, tuple[object, ...]] = {
    "input_type": (),
    "prompt_name": (),
    "task": (),
    "instruction": (),
    "late_chunking": (False,),
    "normalize": (True,),
    "truncate_prompt_tokens": (),
}
HINTS: dict[str, tuple[object, ...]] = {"user": ()}
FATES: dict[str, Fate] = {
    **dict.fromkeys(EmbeddingsBody.model_fields, Fate.HONOURED),
    **dict.fromkeys(HINTS, Fate.IGNORED),
    **dict.fromkeys(REFUSED, Fate.REFUSED),
}


@dataclass(frozen=True, slots=True)
class EmbeddingsAsked:
    """What a body asks for. ``ignored`` are the names of what it holds beside that."""

    model: str
    embed: Embed
    is_base64: bool
    ignored: tuple[str, ...]
    rejects_if_busy: bool = False


def embeddings_asked(raw: dict[str, Any], request_id: str, *, accept_token_ids: bool) -> EmbeddingsAsked:
    """Raises BadRequest, Unsupported."""
    body = validated(EmbeddingsBody, raw)
    refuse(raw, REFUSED)
    embed = Embed(
        id=request_id,
        inputs=_inputs(raw["input"], accept_token_ids),
        dimensions=body.dimensions,
        pooling=body.pooling,
        truncate=bool(body.truncate),
    )
    unread: dict[str, None] = {}
    rejects_if_busy = body.rejects_if_busy(raw, unread)
    ignored = (*named(raw, FATES, HINTS), *unread)
    return EmbeddingsAsked(body.model, embed, body.encoding_format == "base64", ignored, rejects_if_busy)


def _inputs(value: object, accept_token_ids: bool) -> tuple[Text | Tokens, ...]:
    if isinstance(value, str):
        return (_one(value, "input", accept_token_ids),)
    if not isinstance(value, list):
        raise BadRequest("input: must be a string or a list of strings.", param="input")
    if not value:
        raise BadRequest("input: must not be empty.", param="input")
    if _is_id(value[0]):
        return (_one(value, "input", accept_token_ids),)
    if len(value) > MAX_INPUTS:
        raise BadRequest(f"input: at most {MAX_INPUTS} inputs a request; these are {len(value)}.", param="input")
    return tuple(_one(item, f"input[{index}]", accept_token_ids) for index, item in enumerate(value))


def _one(value: object, path: str, accept_token_ids: bool) -> Text | Tokens:
    if isinstance(value, str):
        if not value:
            raise BadRequest(f"{path}: must not be an empty string.", param=path)
        return Text(value)
    if not isinstance(value, list):
        raise BadRequest(f"{path}: must be a string.", param=path)
    if not value:
        raise BadRequest(f"{path}: must not be empty.", param=path)
    for index, item in enumerate(value):
        if not _is_id(item) or not 0 <= item <= MAX_TOKEN_ID:
            raise BadRequest(f"{path}[{index}]: must be a token id.", param=f"{path}[{index}]")
    if not accept_token_ids:
        raise BadRequest(
            f"{path}: token ids are not accepted, since clients send those of OpenAI's vocabulary, which would give "
            "wrong vectors. Send text (in langchain-openai: check_embedding_ctx_length=False). If the ids are this "
            "model's own, send the header lowcloud-accept-token-ids: true, or set embeddings.accept_token_ids.",
            param=path,
        )
    return Tokens(tuple(value))


def _is_id(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
