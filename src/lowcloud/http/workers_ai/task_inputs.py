"""What the native run takes for the tasks that have no engine here yet, as ``models/schema`` shows it.

Source: Cloudflare docs, Workers AI › Models, and the types of its SDKs, read 2026-11.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

Text = Annotated[str, Field(min_length=1)]
Base64 = Annotated[str, Field(json_schema_extra={"contentEncoding": "base64"})]
Raw = Annotated[str, Field(json_schema_extra={"format": "binary"}, description="the bytes themselves, as the body")]
Bytes = Annotated[list[Annotated[int, Field(ge=0, le=255)]], Field(description="a number each byte")]


class _Input(BaseModel):
    model_config = ConfigDict(strict=True)


class Translated(_Input):
    """A text to translate."""

    text: Text
    source_lang: str = "en"
    target_lang: str


IndicLanguage = Literal[
    "asm_Beng", "awa_Deva", "ben_Beng", "bho_Deva", "brx_Deva", "doi_Deva", "eng_Latn", "gom_Deva", "gon_Deva",
    "guj_Gujr", "hin_Deva", "hne_Deva", "kan_Knda", "kas_Arab", "kas_Deva", "kha_Latn", "lus_Latn", "mag_Deva",
    "mai_Deva", "mal_Mlym", "mar_Deva", "mni_Beng", "mni_Mtei", "npi_Deva", "ory_Orya", "pan_Guru", "san_Deva",
    "sat_Olck", "snd_Arab", "snd_Deva", "tam_Taml", "tel_Telu", "urd_Arab", "unr_Deva",
]  # fmt: skip


class IndicTranslated(_Input):
    """Texts to translate into a language of India."""

    text: Text | list[Text]
    target_language: IndicLanguage = "hin_Deva"


class Summarized(_Input):
    """A text to summarize."""

    input_text: Text
    max_length: int = Field(1024, ge=1, description="of the summary, in tokens")


class Seen(_Input):
    """An image to classify, or to find objects in."""

    image: Bytes


class Described(_Input):
    """An image to describe, or to answer about."""

    image: Bytes | Base64
    prompt: str | None = None
    raw: bool = False
    max_tokens: int = Field(512, ge=1)
    temperature: float | None = None
    top_p: float | None = None
    top_k: float | None = None
    seed: float | None = None
    repetition_penalty: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None


class Diffused(_Input):
    """An image to make of a text, and of another image."""

    prompt: Text
    negative_prompt: str | None = None
    height: int | None = Field(None, ge=256, le=2048)
    width: int | None = Field(None, ge=256, le=2048)
    image: Bytes | None = Field(None, description="what to begin with")
    image_b64: Base64 | None = None
    mask: Bytes | None = Field(None, description="what to paint over")
    num_steps: int = Field(20, ge=1, le=20)
    strength: float = Field(1, ge=0, le=1, description="how far from the image")
    guidance: float = 7.5
    seed: int | None = None


class Schnell(_Input):
    """An image to make of a text, in a few steps."""

    prompt: Annotated[str, Field(min_length=1, max_length=2048)]
    steps: int = Field(4, ge=1, le=8)
    seed: int | None = None


class Phoenix(_Input):
    """An image to make of a text."""

    prompt: Text
    negative_prompt: str | None = None
    guidance: float = 2
    seed: int | None = None
    height: int = Field(1024, ge=1)
    width: int = Field(1024, ge=1)
    num_steps: int = Field(25, ge=1)


class Lucid(_Input):
    """An image to make of a text."""

    prompt: Text
    guidance: float = 4.5
    seed: int | None = None
    height: int = Field(1120, ge=1)
    width: int = Field(1120, ge=1)
    num_steps: int | None = Field(None, ge=1)
    steps: int | None = Field(None, ge=1)


class Flux2(_Input):
    """The fields of a ``multipart/form-data`` body: an image to make of a text, and of up to four others."""

    prompt: Text
    width: int = Field(1024, ge=256, le=1920)
    height: int = Field(768, ge=256, le=1920)
    guidance: float | None = None
    seed: int | None = None
    steps: int | None = Field(None, ge=1, description="of the dev model; the others take four")
    input_image_0: Raw | None = None
    input_image_1: Raw | None = None
    input_image_2: Raw | None = None
    input_image_3: Raw | None = None


class Heard(_Input):
    """Speech to write down."""

    audio: Bytes


class HeardTurbo(_Input):
    """Speech to write down or to translate."""

    audio: Base64
    task: Literal["transcribe", "translate"] = "transcribe"
    language: str | None = None
    vad_filter: bool = False
    initial_prompt: str | None = None
    prefix: str | None = None
    beam_size: int = Field(5, ge=1)
    condition_on_previous_text: bool = True
    no_speech_threshold: float = 0.6
    compression_ratio_threshold: float = 2.4
    log_prob_threshold: float = -1
    hallucination_silence_threshold: float | None = Field(None, description="in seconds")


class HeardNova(_Input):
    """The query of raw audio, whose type the header Content-Type names; Deepgram takes more."""

    model_config = ConfigDict(strict=True, extra="allow")

    language: str | None = None
    detect_language: bool | None = None
    punctuate: bool | None = None
    smart_format: bool | None = None
    diarize: bool | None = None
    paragraphs: bool | None = None
    utterances: bool | None = None
    filler_words: bool | None = None
    keyterm: str | None = None
    encoding: str | None = None
    channels: float | None = None
    interim_results: bool | None = Field(None, description="of a WebSocket")


class HeardFlux(_Input):
    """The query of a WebSocket that takes raw audio."""

    encoding: Literal["linear16"]
    sample_rate: str
    eager_eot_threshold: str | None = None
    eot_threshold: str = "0.7"
    eot_timeout_ms: str = "5000"
    keyterm: str | None = None
    mip_opt_out: Literal["true", "false"] = "false"
    tag: str | None = None


class Turn(_Input):
    """Audio whose speaker may be done."""

    audio: Base64
    dtype: Literal["uint8", "float32", "float64"] | None = None


class SpokenMelo(_Input):
    """A text to speak."""

    prompt: Text
    lang: str = "en"


class SpokenAura(_Input):
    """A text to speak."""

    text: str
    speaker: str | None = None
    encoding: Literal["linear16", "flac", "mulaw", "alaw", "mp3", "opus", "aac"] | None = None
    container: Literal["none", "wav", "ogg"] | None = None
    sample_rate: float | None = None
    bit_rate: float | None = None


class GuardMessage(_Input):
    """User and assistant take turns."""

    role: Literal["user", "assistant"]
    content: str


class Guarded(_Input):
    """A conversation to judge."""

    messages: list[GuardMessage]
    max_tokens: int = Field(256, ge=1)
    temperature: float = Field(0.6, ge=0, le=5)
    response_format: dict[str, JsonValue] | None = None


class Noul(_Input):
    """A question of yes or no."""

    type: Literal["noul"]
    instructions: JsonValue
    criteria: dict[Literal["true", "false"], JsonValue] | None = None


class Choice(_Input):
    """A question of one among several."""

    type: Literal["choice"]
    instructions: JsonValue
    criteria: Annotated[dict[str, JsonValue], Field(min_length=2, max_length=255)]


class Score(_Input):
    """A question of how much, on a scale from the lowest."""

    type: Literal["score"]
    instructions: JsonValue
    criteria: Annotated[list[JsonValue], Field(min_length=2, max_length=10)]


class Picture(_Input):
    """An image in the body."""

    content_type: Literal["image/png", "image/jpeg", "image/webp"]
    base64: Base64


class Decided(_Input):
    """Typed questions about a state, by their ids."""

    model: str
    state: JsonValue
    questions: Annotated[
        dict[str, Annotated[Noul | Choice | Score, Field(discriminator="type")]], Field(min_length=1, max_length=64)
    ]
    images: Annotated[list[str | Picture], Field(max_length=4)] | None = None
