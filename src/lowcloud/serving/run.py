"""One run of a model: what of it is measured, and the one record that is left of it, however it ends."""

from asyncio import CancelledError
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Protocol, TypeVar

from lowcloud.core.events import Event, ReasoningDelta, Started, TextDelta, ToolCallDelta, Usage
from lowcloud.models.catalogue import Answer
from lowcloud.models.pricing import neurons
from lowcloud.serving.deadline import Deadline
from lowcloud.serving.usage import Outcome, UsageRecord

T = TypeVar("T")


class Meter(Protocol):
    """Where the numbers of requests go; seconds and counts. ``model`` is the card that answers."""

    def ttft(self, model: str, seconds: float) -> None: ...
    def inter_token(self, model: str, seconds: float) -> None: ...
    def tokens(self, model: str, *, prompt: int, cached: int, completion: int) -> None: ...
    def queue(self, model: str, *, requests: int, tokens: int) -> None: ...


class Run:
    """A run from its arrival to its ``end``. ``clock`` is in seconds, monotonic.

    Of a generation without ``Usage``, cancelled or failed, what the caller got is counted: a token a delta; of another
    run what the engine had begun to work on.
    """

    def __init__(
        self,
        answer: Answer,
        account_id: str,
        deadline: Deadline,
        meter: Meter,
        clock: Callable[[], float],
    ) -> None:
        self._answer = answer
        self._account_id = account_id
        self._deadline = deadline
        self._meter = meter
        self._clock = clock
        self._arrived = clock()
        self._last: dict[int, float] = {}
        self._started: Started | None = None
        self._completion = 0
        self._usage: Usage | None = None
        self._begun: Usage | None = None

    async def bound(self, call: Callable[[], Awaitable[T]]) -> T:
        """What ``call`` gives, if it comes within the run's time. Raises RequestTimeout."""
        return await self._deadline.bound(call)

    def seen(self, event: Event) -> Event:
        """An event of a generation, before it goes to the caller; usage gets its neurons."""
        match event:
            case TextDelta(choice=choice, logprobs=logprobs):
                self._delta(choice, max(1, len(logprobs)))
            case ReasoningDelta(choice=choice) | ToolCallDelta(choice=choice):
                self._delta(choice, 1)
            case Started():
                self._started = event
            case Usage():
                return self.complete(event)
        return event

    def counted(self, prompt_tokens: int) -> None:
        """The engine has begun to work on so many, of what it gives all at once."""
        self._begun = Usage(prompt_tokens, 0, 0)

    def complete(self, usage: Usage) -> Usage:
        """The model has done its work, for so many tokens; returns them with their neurons."""
        self._usage = replace(usage, neurons=self._neurons(usage))
        return self._usage

    def end(self, error: BaseException | None) -> UsageRecord:
        """What the run used. ``error`` is what ended it, if something did."""
        used = self._used()
        if used is not None:
            self._meter.tokens(self._answer.by.id, prompt=used.prompt, cached=used.cached, completion=used.completion)
        used = used or Usage(0, 0, 0)
        return UsageRecord(
            account_id=self._account_id,
            model=self._answer.card.id,
            answered_by=self._answer.by.id,
            task=self._answer.card.task,
            outcome=self._outcome(error),
            prompt_tokens=used.prompt,
            cached_tokens=used.cached,
            completion_tokens=used.completion,
            neurons=self._neurons(used),
        )

    def _used(self) -> Usage | None:
        if self._usage is not None or self._started is None:
            return self._usage or self._begun
        return Usage(self._started.prompt_tokens, self._started.cached_tokens, self._completion)

    def _outcome(self, error: BaseException | None) -> Outcome:
        """A client that leaves closes the generator, or cancels what waits; once the model is done, all is."""
        match error:
            case None:
                return "done"
            case GeneratorExit() | CancelledError():
                return "client_gone" if self._usage is None else "done"
            case _:
                return "failed"

    def _neurons(self, usage: Usage) -> float:
        return neurons(self._answer.card, usage.prompt, usage.cached, usage.completion)

    def _delta(self, choice: int, n_tokens: int) -> None:
        now = self._clock()
        if not self._last:
            self._meter.ttft(self._answer.by.id, now - self._arrived)
        if choice in self._last:
            self._meter.inter_token(self._answer.by.id, now - self._last[choice])
        self._last[choice] = now
        self._completion += n_tokens
