"""What goes down the narrow waist: a request to generate, embed, rerank or classify, free of any wire format."""

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

    ``rejects_if_busy``: where it would have to wait behind others, it is refused instead (Overloaded). ``is_part``: it
    is one more run of a request that is counted by its first.
    """

    account_id: str
    admission: Admission = "live"
    rejects_if_busy: bool = False
    is_part: bool = False


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen. ``None`` means: the card's default, else the neutral value.

    temperature 0..5 (0 is greedy), top_p 0..1 (0 excluded), top_k 0 (off) or more, min_p 0..1,
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
class ThinkingBound:
    """At most so many tokens of reasoning before the answer. ``param`` is the path of the field in the body."""

    tokens: int
    param: str = "thinking_token_budget"


@dataclass(frozen=True, slots=True)
class Generate:
    """One generation of ``choices`` sequences.

    ``max_tokens`` None: ``default_max_tokens`` or the card's default, else what the context leaves.
    ``top_logprobs`` None: no log-probabilities; 0..20: that many alternatives beside the sampled token's own.

    ``output`` is what the answer's text must be, ``tools`` what may be called; together: a call, or such a text.
    ``prediction`` is a text that the answer may resemble: it can only make it faster.
    """

    id: str
    prompt: Prompt
    choices: int = 1
    sampling: Sampling = field(default_factory=Sampling)
    stop: tuple[str, ...] = ()
    top_logprobs: int | None = None
    max_tokens: int | None = None
    default_max_tokens: int | None = None
    ignore_eos: bool = False
    output: Format = ANY_TEXT
    tools: ToolPlan = NO_TOOLS
    thinking: ThinkingBound | None = None
    prediction: str | None = None


@dataclass(frozen=True, slots=True)
class Embed:
    """Inputs to turn into unit vectors, in order. ``dimensions`` None: as many as the model has.

    ``pooling`` None: the model's own. Inputs over the model's limit are refused unless ``truncate``. ``names`` are the
    caller's names of the inputs. Work of a higher ``rank`` waits for that of a lower one; 0 is a live request's.
    """

    id: str
    inputs: tuple[Text | Tokens, ...]
    dimensions: int | None = None
    pooling: Pooling | None = None
    truncate: bool = False
    names: tuple[str, ...] = ()
    rank: int = 0

    def name(self, place: int) -> str:
        """What an error calls the input at ``place``."""
        return self.names[place] if self.names else f"input[{place}]"


@dataclass(frozen=True, slots=True)
class Rerank:
    """Documents to score for a query, each on its own.

    Of a document only the first ``document_tokens`` count, where that is set. A document that is over the model's limit
    together with the query is refused unless ``truncate``. ``names`` are the caller's names of the documents.
    """

    id: str
    query: str
    documents: tuple[str, ...]
    document_tokens: int | None = None
    truncate: bool = False
    names: tuple[str, ...] = ()

    def name(self, place: int) -> str:
        """What an error calls the document at ``place``."""
        return self.names[place] if self.names else f"documents[{place}]"


@dataclass(frozen=True, slots=True)
class Classify:
    """Texts to label, in order. Those over the model's limit are refused unless ``truncate``; ``names`` as above."""

    id: str
    inputs: tuple[str, ...]
    truncate: bool = False
    names: tuple[str, ...] = ()

    def name(self, place: int) -> str:
        """What an error calls the input at ``place``."""
        return self.names[place] if self.names else f"input[{place}]"
