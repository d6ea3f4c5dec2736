"""What goes down the narrow waist: a request to generate or to embed, free of any wire format."""

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from lowcloud.core.messages import Prompt, Text, Tokens
from lowcloud.core.output import ANY_TEXT, Format
from lowcloud.core.tools import NO_TOOLS, ToolPlan

Pooling: TypeAlias = Literal["mean", "cls"]
# Who waits for whom: "background" for "live", "batch" for both.
Admission: TypeAlias = Literal["live", "background", "batch"]


@dataclass(frozen=True, slots=True)
class Caller:
    """On whose account a request runs, and how long it may wait.

    ``rejects_if_busy``: where it would have to wait behind others, it is refused instead (Overloaded).
    """

    account_id: str
    admission: Admission = "live"
    rejects_if_busy: bool = False


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen. ``None`` means: the card's default, else the neutral value.

    temperature 0..2 (0 is greedy), top_p 0..1 (0 excluded), top_k 0 (off) or more, min_p 0..1,
    seed any int64 (None: one is drawn), repetition_penalty above 0, presence and frequency -2..2.
    ``logit_bias`` holds (token id, -100..100); ids are checked against the vocabulary by ``Engine.prepare``.
    """

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    seed: int | None = None
    repetition_penalty: float | None = None
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Generate:
    """One generation of ``choices`` sequences.

    ``max_tokens`` None: the card's default, else what the context leaves. ``top_logprobs`` None: no
    log-probabilities; 0..20: that many alternatives beside the sampled token's own.

    ``output`` is what the answer's text must be, ``tools`` what may be called; together: a call, or such a text.
    ``thinking_tokens`` bounds the reasoning before the answer, in tokens. ``prediction`` is a text that the answer may
    resemble: it can only make it faster.
    """

    id: str
    prompt: Prompt
    choices: int = 1
    sampling: Sampling = field(default_factory=Sampling)
    stop: tuple[str, ...] = ()
    top_logprobs: int | None = None
    max_tokens: int | None = None
    ignore_eos: bool = False
    output: Format = ANY_TEXT
    tools: ToolPlan = NO_TOOLS
    thinking_tokens: int | None = None
    prediction: str | None = None


@dataclass(frozen=True, slots=True)
class Embed:
    """Inputs to turn into unit vectors, in order. ``dimensions`` None: as many as the model has.

    ``pooling`` None: the model's own. Inputs over the model's limit are refused unless ``truncate``.
    """

    id: str
    inputs: tuple[Text | Tokens, ...]
    dimensions: int | None = None
    pooling: Pooling | None = None
    truncate: bool = False
