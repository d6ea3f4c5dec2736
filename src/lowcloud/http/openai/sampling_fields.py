"""The parameters of sampling, length and streams that every format of OpenAI's kind has, and what they ask for."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from lowcloud.core.errors import BadRequest
from lowcloud.core.requests import Sampling

INT64 = 2**63
MAX_CHOICES = 128
MAX_STOPS = 4


def _stop_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


Count = Annotated[int, Field(ge=1, lt=2**31)]
Penalty = Annotated[float, Field(ge=-2, le=2)]
StopText = Annotated[str, StringConstraints(min_length=1)]
# One spelling for each id, so that no two keys of logit_bias mean the same token.
TokenId = Annotated[str, StringConstraints(pattern=r"^(0|[1-9][0-9]{0,9})$")]
Stops = Annotated[
    list[StopText] | None,
    Field(max_length=MAX_STOPS),
    BeforeValidator(_stop_list, json_schema_input_type=StopText | list[StopText] | None),
]


# Other servers' parameters of the same kind, which would change the text, with the values that ask for nothing.
SAMPLING_REFUSED: dict[str, tuple[object, ...]] = {
    "lora": (),
    "min_tokens": (0,),
    "stop_token_ids": ([],),
    "bad_words": ([],),
    "length_penalty": (1, 1.0),
    "use_beam_search": (False,),
    "typical_p": (1, 1.0),
    "grammar": (),
    "json_schema": (),
    "skip_special_tokens": (True,),
    "allowed_token_ids": ([],),
    "guided_whitespace_pattern": (),
}


class StreamOptions(BaseModel):
    """Only with ``stream``."""

    model_config = ConfigDict(strict=True)

    include_usage: bool | None = Field(None, description="end with a chunk of the usage")
    include_obfuscation: bool | None = Field(None, description="pad chunks, so that their sizes tell less")


class TokenFields(BaseModel):
    """The base of a body that generates text: how its tokens are chosen, and where it ends."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0, lt=2**31)] | None = Field(None, description="0: off")
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0, le=100)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: dict[TokenId, Annotated[float, Field(ge=-100, le=100)]] | None = None
    seed: Annotated[int, Field(ge=-INT64, lt=INT64)] | None = None
    stop: Stops = None
    ignore_eos: bool | None = Field(None, description="go on to max_tokens; for benchmarks")

    def sampling(self) -> Sampling:
        """How the next token is chosen."""
        return Sampling(
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            min_p=self.min_p,
            seed=self.seed,
            repetition_penalty=self.repetition_penalty,
            presence_penalty=self.presence_penalty or 0.0,
            frequency_penalty=self.frequency_penalty or 0.0,
            logit_bias=tuple((int(token), bias) for token, bias in (self.logit_bias or {}).items()),
        )


class SamplingFields(TokenFields):
    """The base of a body with choices. ``n`` is their number."""

    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Count | None = None
    n: Annotated[int, Field(ge=1, le=MAX_CHOICES)] | None = None

    def stream_asked(self, raw: Mapping[str, Any], unread: dict[str, None]) -> StreamOptions:
        """``stream_options``; ``unread`` gets the names of those that nothing reads. Raises BadRequest."""
        if self.stream_options is None:
            return StreamOptions()
        if not self.stream:
            raise BadRequest("stream_options: only allowed when stream is true.", param="stream_options")
        given = raw["stream_options"]
        unknown = [name for name in given if name not in StreamOptions.model_fields and given[name]]
        unread.update({f"stream_options.{name}": None for name in unknown})
        return self.stream_options
