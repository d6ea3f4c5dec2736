"""One request under way: a sequence a choice at the worker, their tokens turned into the request's events.

Runs on the event loop, called by the worker's reader. A sequence keeps its tokens, so that a worker that follows a dead
one can go on where that stopped.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from lowcloud.core.errors import BadRequest, EngineFailed, LowcloudError, PromptTooLong
from lowcloud.core.events import Event, Finished, FinishReason, ReasoningDelta, Started, TextDelta, Usage
from lowcloud.core.output import AnyText, Lark, Regex
from lowcloud.core.requests import Generate
from lowcloud.engines.calls import Calls
from lowcloud.engines.engine import Prepared
from lowcloud.engines.local import process as worker
from lowcloud.engines.local.defaults import param_of
from lowcloud.engines.local.frames import Accepted, Counted, Refused, Submit
from lowcloud.engines.local.mailbox import Mailbox
from lowcloud.engines.local.process import Output, WorkerProcess
from lowcloud.engines.local.transcript import Part, Said, Transcript, plain
from lowcloud.engines.local.vocabulary import Tokenizer
from lowcloud.text.channels import Reader, Script, Thought

Number = TypeVar("Number", int, float)


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What turns a model's tokens into text: ``stop_ids`` end an answer."""

    tokenizer: Tokenizer
    stop_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Reading:
    """How outputs are read: by ``script``, to which the control tokens ``shown`` are their texts."""

    script: Callable[[Reader], Script] = plain
    shown: Mapping[int, str] = field(default_factory=dict)
    new_call_id: Callable[[], str] = str


class Generation:
    """The sequences of ``prepared``, whose sampling has no None left. ``mailbox`` gets its events, or its error."""

    def __init__(self, prepared: Prepared, vocabulary: Vocabulary, process: WorkerProcess, reading: Reading) -> None:
        self.mailbox = Mailbox()
        self._prepared, self._process = prepared, process
        self._cached: int | None = None
        self._prompt_tokens = prepared.prompt_tokens
        choices = range(prepared.request.choices)
        self._sequences = [_Sequence(self, choice, prepared, vocabulary, reading) for choice in choices]
        self._unfinished = len(self._sequences)
        self._numbers: list[int] = []

    def start(self) -> None:
        """Submit every choice; the prompt's blocks are shared by prefix reuse. Raises Overloaded."""
        for sequence in self._sequences:
            self._numbers.append(self._process.open(sequence))

    def close(self) -> None:
        """Cancel what isn't finished. Once closed, nothing comes."""
        for number in self._numbers:
            self._process.close(number)

    def accepted(self, cached: int) -> None:
        """A worker has begun a sequence. The first time in all is the request's start."""
        if self._cached is not None:
            return
        self._cached = cached
        prepared, loaded = self._prepared, self._process.loaded
        weights = loaded.weights if loaded else ""
        self.mailbox.put(
            Started(
                prepared.prompt_tokens,
                cached,
                weights,
                default_max_tokens=prepared.default_max_tokens,
                loosened=prepared.loosened,
                unread=prepared.unread,
            )
        )

    def counted(self, prompt_tokens: int) -> None:
        """What ``Started`` could only reckon."""
        self._prompt_tokens = prompt_tokens

    def say(self, event: Event) -> None:
        """A piece of a choice."""
        self.mailbox.put(event)

    def finished(self, choice: int, reason: FinishReason, stop: str | None) -> None:
        """A choice is complete. The worker is told, unless it said so itself."""
        self._process.close(self._numbers[choice])
        self.mailbox.put(Finished(choice, reason, stop))
        self._unfinished -= 1
        if not self._unfinished:
            self.mailbox.put(self._usage())
            self.mailbox.close()

    def _usage(self) -> Usage:
        """Of all choices together."""
        accepted, rejected = (sum(counts) for counts in zip(*(each.predicted for each in self._sequences), strict=True))
        return Usage(
            prompt=self._prompt_tokens,
            cached=self._cached or 0,
            completion=sum(sequence.n_tokens for sequence in self._sequences),
            reasoning=sum(sequence.n_reasoning for sequence in self._sequences),
            accepted_prediction=accepted,
            rejected_prediction=rejected,
        )

    def failed(self, error: LowcloudError) -> None:
        """One sequence's failure is the request's."""
        self.close()
        self.mailbox.close(error)


class _Sequence:
    """One choice: a client of the worker's process."""

    def __init__(
        self, generation: Generation, choice: int, prepared: Prepared, vocabulary: Vocabulary, reading: Reading
    ) -> None:
        self._generation, self._choice = generation, choice
        self._prepared = prepared
        self._end_ids = vocabulary.stop_ids
        self._stop_ids = () if prepared.request.ignore_eos else vocabulary.stop_ids
        self._transcript = Transcript(vocabulary.tokenizer, prepared.request.stop, reading.script, reading.shown)
        self._calls = Calls(choice, prepared.request.tools.tools, reading.new_call_id)
        self._tokens: list[int] = []
        self.predicted = (0, 0)

    @property
    def n_tokens(self) -> int:
        """Tokens generated: a stop token counts, what came after a stop string doesn't."""
        return len(self._tokens)

    @property
    def n_reasoning(self) -> int:
        """Those of them that were reasoning."""
        return self._transcript.n_reasoning

    def frame(self, number: int) -> Submit:
        return _submit(number, self._choice, self._tokens, self._prepared, self._stop_ids)

    def take(self, part: worker.Part) -> None:
        match part:
            case Output():
                self._add(part)
            case Accepted():
                self._generation.accepted(part.cached)
            case Counted():
                self._generation.counted(part.prompt_tokens)
            case Refused():
                self._generation.failed(_refusal(part, self._prepared.request))
            case _:
                raise TypeError(f"a sequence gets no {type(part).__name__}")

    def fail(self, error: LowcloudError) -> None:
        self._generation.failed(error)

    def _add(self, output: Output) -> None:
        self.predicted = output.predicted
        last = len(output.tokens) - 1
        for index, token in enumerate(output.tokens):
            self._tokens.append(token)
            if index == last and output.finish == "stop" and token in self._end_ids:
                break  # the stop token itself has no text; a grammar's last token has
            parts = self._transcript.add(token, output.logprobs[index] if output.logprobs else None)
            if self._say(parts):
                return
        if output.finish is not None and not self._say(self._transcript.end(is_cut=output.finish == "length")):
            self._finish(output.finish)

    def _say(self, parts: Sequence[Part]) -> bool:
        """Pass parts on; True where a stop string has ended the choice."""
        for part in parts:
            match part:
                case Said(text=text, logprobs=logprobs, stop=stop):
                    if text or logprobs:
                        self._generation.say(TextDelta(self._choice, text, logprobs))
                    if stop is not None:
                        self._generation.finished(self._choice, self._reason("stop"), stop)
                        return True
                case Thought(text=text):
                    self._generation.say(ReasoningDelta(self._choice, text))
                case _:
                    delta = self._calls.delta(part)
                    if delta is not None:
                        self._generation.say(delta)
        return False

    def _finish(self, reason: FinishReason) -> None:
        self._generation.finished(self._choice, self._reason(reason), None)

    def _reason(self, reason: FinishReason) -> FinishReason:
        return "tool_calls" if reason == "stop" and self._calls.n_complete else reason


def _submit(seq: int, choice: int, forced: list[int], prepared: Prepared, stop_ids: Sequence[int]) -> Submit:
    request, sampling = prepared.request, prepared.request.sampling
    return Submit(
        seq=seq,
        ids=list(prepared.prompt_ids or ()),
        forced=list(forced),
        max_tokens=prepared.max_tokens,
        stop_ids=list(stop_ids),
        temperature=_set(sampling.temperature),
        top_p=_set(sampling.top_p),
        top_k=_set(sampling.top_k),
        min_p=_set(sampling.min_p),
        repetition_penalty=_set(sampling.repetition_penalty),
        presence_penalty=sampling.presence_penalty,
        frequency_penalty=sampling.frequency_penalty,
        logit_bias=[[token, bias] for token, bias in sampling.logit_bias],
        seed=_set(sampling.seed),
        choice=choice,
        n_logprobs=-1 if request.top_logprobs is None else request.top_logprobs,
        grammar=prepared.grammar,
        prediction=list(prepared.prediction_ids),
        rank=prepared.rank,
        text=prepared.prompt_text,
        images=list(prepared.images),
    )


def _refusal(refused: Refused, request: Generate) -> LowcloudError:
    param = param_of(request.prompt)
    match refused.code:
        case "bad_grammar":
            return BadRequest(f"The answer can't be bounded so: {refused.message}.", param=_bound(request))
        case "too_long":
            return PromptTooLong(f"The prompt is too long: {refused.message}.", param=param)
        case "bad_token" | "bad_prompt":
            return BadRequest(f"The model can't take this prompt: {refused.message}.", param=param)
        case _:
            return EngineFailed(f"The model gave up on this request: {refused.message}.")


def _bound(request: Generate) -> str:
    """The field that a grammar's fault is in, as far as that is known: schemas were read before, grammars weren't."""
    written = [tool.input for tool in request.tools.tools] if request.tools.mode != "none" else []
    grammars = [form.param for form in (request.output, *written) if isinstance(form, Lark | Regex)]
    if len(grammars) == 1:
        return grammars[0]
    return "tools" if isinstance(request.output, AnyText) else request.output.param


def _set(value: Number | None) -> Number:
    """Of a sampling that ``sampling_of`` filled in; None there is our bug."""
    if value is None:
        raise TypeError("a prepared request has every default filled in")
    return value
