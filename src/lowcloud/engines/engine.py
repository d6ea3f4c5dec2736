"""What an engine is: the protocols between ``serving`` and everything that can run a model."""

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

from lowcloud.core.events import Event
from lowcloud.core.messages import Messages, Prompt
from lowcloud.core.requests import Classify, Embed, Generate, Rerank
from lowcloud.core.results import Classified, Embedded, Reranked
from lowcloud.models.card import Card

Counted: TypeAlias = Callable[[int], None]  # is told how many tokens a request has


def unheard(_n_tokens: int) -> None:
    """A ``Counted`` that nobody reads."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request that is checked, rendered, counted and has every default filled in.

    ``prompt_ids`` is None for an engine that has no token ids of its own (a remote one). The count is there
    before the engine promises anything, since admission bounds the queue in tokens.

    ``grammar`` bounds the answer where it isn't empty (llguidance's Lark); ``loosened`` names what of the caller's
    schemas isn't in it, ``unread`` the fields that the model does nothing with; ``is_thinking``: the prompt has opened
    the reasoning. ``prediction_ids`` are of the answer that the caller expects. ``prompt_text`` and ``images`` (files)
    are what a model that sees is given; then ``prompt_tokens`` is an estimate. Work of a higher ``rank`` gives way to
    that of a lower one; 0 is a live request's.
    """

    request: Generate
    prompt_ids: tuple[int, ...] | None
    prompt_tokens: int
    max_tokens: int
    default_max_tokens: int | None = None
    grammar: str = ""
    loosened: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    is_thinking: bool = False
    prediction_ids: tuple[int, ...] = ()
    prompt_text: str = ""
    images: tuple[bytes, ...] = ()
    rank: int = 0


class Engine(Protocol):
    """Generates text with one model."""

    @property
    def card(self) -> Card: ...

    def check(self, request: Generate) -> None:
        """Refuse what this engine can't do; pure. Raises Unsupported naming the field."""

    async def prepare(self, request: Generate) -> Prepared:
        """Render, count and fill in defaults. Raises BadRequest, PromptTooLong."""

    def generate(self, prepared: Prepared) -> AsyncGenerator[Event, None]:
        """The events of the generation; ``aclose()`` cancels it. Failures are raised; PromptTooLong where the context
        has become smaller since ``prepare``."""

    async def count(self, prompt: Prompt) -> int:
        """Tokens of the prompt as this model sees it. Needs no weights."""


@dataclass(frozen=True, slots=True)
class Token:
    """A token, and its text; a part of a character shows as U+FFFD."""

    id: int
    text: str


class Wording(Protocol):
    """What an engine can tell of its model's words, without weights. Remote ones can't."""

    async def tokens(self, prompt: Prompt) -> list[Token]:
        """The prompt as the model sees it. Raises BadRequest."""

    async def text(self, ids: tuple[int, ...]) -> str:
        """The tokens' text, control tokens by their names. Raises BadRequest."""

    async def rendered(self, prompt: Messages) -> str:
        """The conversation by the model's own chat template. Raises BadRequest."""


class Embedder(Protocol):
    """Turns texts into unit vectors with one model."""

    @property
    def card(self) -> Card: ...

    async def embed(self, request: Embed, counted: Counted = unheard) -> Embedded:
        """Vectors of the model's own dimension. ``counted`` is told the tokens once they are known, if that is before
        the end. Raises BadRequest with the counts for an input over the limit."""


class Reranker(Protocol):
    """Scores documents for a query with one model."""

    @property
    def card(self) -> Card: ...

    async def rerank(self, request: Rerank, counted: Counted = unheard) -> Reranked:
        """A score a document; ``counted`` as for ``embed``. Raises BadRequest with the counts for a query and a
        document over the limit."""


class Classifier(Protocol):
    """Labels texts with one model."""

    @property
    def card(self) -> Card: ...

    async def classify(self, request: Classify, counted: Counted = unheard) -> Classified:
        """The labels of each input. Raises BadRequest with the counts for an input over the limit."""


RuntimeState: TypeAlias = Literal["stopped", "starting", "ready", "backoff"]


class Runtime(Protocol):
    """What must run for an engine to answer, such as its worker process. ``serving/pool.py`` owns it."""

    @property
    def state(self) -> RuntimeState: ...

    @property
    def note(self) -> str:
        """One line for people: what runs, in which precision, or why it doesn't."""

    async def run(self) -> None:
        """Start, supervise and restart until cancelled; then end what was started. Called once, in the pool's task."""

    async def ready(self) -> None:
        """Return when the engine can answer. Raises Unavailable (with ``retry_after_s``) while in restart backoff."""
