"""What the native run gives for scores and labels, and for the tasks that have no engine here yet, as ``models/schema``
shows it.

Source: Cloudflare docs, Workers AI › Models, and the types of its SDKs, read 2026-11.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from lowcloud.http.openai.schemas import EmbeddingsUsage

Probability = Annotated[float, Field(ge=0, le=1)]
Png = Annotated[str, Field(json_schema_extra={"format": "binary", "contentType": "image/png"})]
Jpeg = Annotated[str, Field(json_schema_extra={"format": "binary", "contentType": "image/jpeg"})]
Mp3 = Annotated[str, Field(json_schema_extra={"format": "binary", "contentType": "audio/mpeg"})]


class _Output(BaseModel):
    model_config = ConfigDict(strict=True)


class Label(_Output):
    """A label and how sure the model is of it."""

    label: str
    score: Probability


Labels = list[Label]


class Scored(_Output):
    """``id`` is the context's place in the request."""

    id: int
    score: float


class Ranking(_Output):
    """The best first."""

    response: list[Scored]
    usage: EmbeddingsUsage


class Translation(_Output):
    translated_text: str


class Translations(_Output):
    translations: list[str]


class Summary(_Output):
    summary: str


class Box(_Output):
    """In pixels of the image."""

    xmin: float
    ymin: float
    xmax: float
    ymax: float


class Detected(_Output):
    """An object in an image."""

    score: Probability
    label: str
    box: Box


Detections = list[Detected]


class Description(_Output):
    description: str


class Image(_Output):
    image: str = Field(description="base64")


class Word(_Output):
    """In seconds of the recording."""

    word: str
    start: float
    end: float


class Transcript(_Output):
    text: str
    word_count: int
    words: list[Word]
    vtt: str


class TranscriptionInfo(_Output):
    """Durations in seconds."""

    language: str
    language_probability: Probability
    duration: float
    duration_after_vad: float


class Segment(_Output):
    """Times in seconds of the recording."""

    start: float
    end: float
    text: str
    temperature: float
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: Probability
    words: list[Word]


class LongTranscript(_Output):
    transcription_info: TranscriptionInfo
    text: str
    word_count: int
    segments: list[Segment]
    vtt: str


class NovaWord(Word):
    confidence: Probability


class NovaAlternative(_Output):
    confidence: Probability
    transcript: str
    words: list[NovaWord]


class NovaChannel(_Output):
    alternatives: list[NovaAlternative]


class NovaResults(_Output):
    channels: list[NovaChannel]
    summary: JsonValue = None
    sentiments: JsonValue = None


class NovaTranscript(_Output):
    results: NovaResults


class FluxWord(_Output):
    word: str
    confidence: Probability


class FluxMessage(_Output):
    """A message of the WebSocket; times in seconds."""

    request_id: str
    sequence_id: int
    event: Literal["Update", "StartOfTurn", "EagerEndOfTurn", "TurnResumed", "EndOfTurn"]
    turn_index: int
    audio_window_start: float
    audio_window_end: float
    transcript: str
    words: list[FluxWord]
    end_of_turn_confidence: Probability


class TurnEnd(_Output):
    is_complete: bool
    probability: Probability


class Speech(_Output):
    audio: str = Field(description="MP3 in base64")


class Verdict(_Output):
    safe: bool
    categories: list[str]


class Judged(_Output):
    response: str | Verdict = Field(description="the model's text; with a response_format of json_object an object")
    usage: dict[str, int]


class NoulAnswer(_Output):
    type: Literal["noul"]
    noul: Probability = Field(description="that the answer is yes")


class ChoiceAnswer(_Output):
    type: Literal["choice"]
    choice: str
    probabilities: dict[str, Probability]
    confidence: Probability


class ScoreAnswer(_Output):
    type: Literal["score"]
    score: float
    legend: dict[str, JsonValue]
    probabilities: dict[str, Probability]
    confidence: Probability


class DecisionUsage(_Output):
    input_tokens: int
    output_tokens: int


class Decisions(_Output):
    """An answer each question, by its id."""

    model: str
    answers: dict[str, Annotated[NoulAnswer | ChoiceAnswer | ScoreAnswer, Field(discriminator="type")]]
    usage: DecisionUsage
