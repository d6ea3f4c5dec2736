"""Events to the bytes of completions: chunk by chunk, or folded into one answer. No I/O."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from lowcloud.core.events import Alternative, Event, Finished, TextDelta, TokenLogprob, Usage
from lowcloud.http.encode import to_json
from lowcloud.http.openai.chat_answer import Head, shown_logprob, usage_fields
from lowcloud.http.openai.chat_stream import padded
from lowcloud.http.openai.completions_request import CompletionAsked


@dataclass(slots=True)
class _Choice:
    text: str = ""
    logprobs: list[TokenLogprob] = field(default_factory=list)
    reason: str | None = None

    def score(self) -> float:
        """The mean log-probability of its tokens, by which the best are chosen."""
        return sum(one.sampled.logprob for one in self.logprobs) / max(1, len(self.logprobs))


class WholeCompletion:
    """The fold of each prompt's events. Events of prompt ``number`` go into ``feed(number, event)``."""

    def __init__(self, head: Head, asked: CompletionAsked) -> None:
        self._head, self._asked = head, asked
        self._choices = [[_Choice() for _ in range(asked.best_of)] for _ in asked.generates]
        self._usages: list[Usage] = []

    def feed(self, number: int, event: Event) -> None:
        """Take one event in."""
        choices = self._choices[number]
        match event:
            case TextDelta(choice=choice, text=text, logprobs=logprobs):
                choices[choice].text += text
                choices[choice].logprobs.extend(logprobs)
            case Finished(choice=choice, reason=reason):
                choices[choice].reason = reason
            case Usage():
                self._usages.append(event)

    def body(self) -> bytes:
        """The answer, once all events have ended."""
        usage = self.usage()
        shown = [
            self._shown(number * self._asked.n + place, number, choice)
            for number, choices in enumerate(self._choices)
            for place, choice in enumerate(self._best(choices))
        ]
        fields = self._head.fields("text_completion")
        return to_json({**fields, "choices": shown, "usage": usage_fields(usage)})

    def usage(self) -> Usage:
        """What all prompts together used, once all events have ended."""
        if len(self._usages) < len(self._choices):
            raise RuntimeError("the engine's events ended too early")
        return total(self._usages)

    def _best(self, choices: Sequence[_Choice]) -> Sequence[_Choice]:
        if len(choices) == self._asked.n:
            return choices
        return sorted(choices, key=_Choice.score, reverse=True)[: self._asked.n]

    def _shown(self, index: int, number: int, choice: _Choice) -> dict[str, object]:
        echo = self._asked.echoes[number] if self._asked.echoes else ""
        logprobs = None if self._asked.logprobs is None else logprob_fields(choice.logprobs, len(echo))
        return {"index": index, "text": echo + choice.text, "logprobs": logprobs, "finish_reason": choice.reason}


class CompletionWriter:
    """Writes a stream of several prompts' events."""

    def __init__(self, head: Head, asked: CompletionAsked) -> None:
        fields = to_json(head.fields("text_completion"))
        self._begin = b"data: " + fields[:-1] + b',"choices":['
        has_null = asked.include_usage and asked.has_null_usage
        self._end = b'],"usage":null}\n\n' if has_null else b"]}\n\n"
        self._asked = asked
        self._lengths = [[0] * asked.n for _ in asked.generates]
        self._usages: list[Usage] = []

    def begin(self) -> bytes:
        """What stands before the first event: the prompts, where they are echoed."""
        if self._asked.echoes is None:
            return b""
        n = self._asked.n
        places = [(number, choice) for number in range(len(self._asked.echoes)) for choice in range(n)]
        return b"".join(self._text(number, choice, self._asked.echoes[number], ()) for number, choice in places)

    def feed(self, number: int, event: Event) -> bytes:
        """The whole SSE events that prompt ``number``'s event becomes; empty where it becomes none."""
        match event:
            case TextDelta(choice=choice, text=text, logprobs=logprobs) if text or logprobs:
                return self._text(number, choice, text, logprobs)
            case Finished(choice=choice, reason=reason):
                return self._chunk(number, choice, b'""', b"null", b'"%b"' % reason.encode())
            case Usage():
                self._usages.append(event)
        return b""

    def end(self) -> bytes:
        """What stands after the last event: the usage, where it is asked for."""
        if not self._asked.include_usage:
            return b""
        return self._begin + b'],"usage":%b}\n\n' % to_json(usage_fields(total(self._usages)))

    def _text(self, number: int, choice: int, text: str, logprobs: Sequence[TokenLogprob]) -> bytes:
        shown = b"null"
        if self._asked.logprobs is not None and logprobs:
            shown = to_json(logprob_fields(logprobs, self._lengths[number][choice]))
        self._lengths[number][choice] += len(text)
        return self._chunk(number, choice, to_json(text), shown, b"null")

    def _chunk(self, number: int, choice: int, text: bytes, logprobs: bytes, reason: bytes) -> bytes:
        index = number * self._asked.n + choice
        body = b'{"index":%d,"text":%b,"logprobs":%b,"finish_reason":%b}' % (index, text, logprobs, reason)
        event = self._begin + body + self._end
        return padded(event) if self._asked.pads else event


def total(usages: Sequence[Usage]) -> Usage:
    """The usage of several prompts together."""
    costs = [one.neurons for one in usages if one.neurons is not None]
    return Usage(
        prompt=sum(one.prompt for one in usages),
        cached=sum(one.cached for one in usages),
        completion=sum(one.completion for one in usages),
        neurons=sum(costs) if len(costs) == len(usages) else None,
    )


def logprob_fields(logprobs: Sequence[TokenLogprob], offset: int) -> dict[str, object]:
    """The old form; ``offset`` is the place of the first token in the choice's text, in characters."""
    offsets = []
    for one in logprobs:
        offsets.append(offset)
        offset += len(one.sampled.token)
    return {
        "tokens": [_spelt(one.sampled) for one in logprobs],
        "token_logprobs": [shown_logprob(one.sampled) for one in logprobs],
        "top_logprobs": [_by_text(one.top) for one in logprobs],
        "text_offset": offsets,
    }


def _by_text(alternatives: Sequence[Alternative]) -> dict[str, float]:
    """Of tokens with the same text the likeliest has it, the other is spelt by its bytes."""
    found: dict[str, float] = {}
    for one in alternatives:
        text = _spelt(one)
        found.setdefault(_as_bytes(one.bytes) if text in found else text, shown_logprob(one))
    return found


def _spelt(one: Alternative) -> str:
    """The text; of a token that holds a part of a character its bytes, as OpenAI writes them."""
    try:
        one.bytes.decode()
    except UnicodeDecodeError:
        return _as_bytes(one.bytes)
    return one.token


def _as_bytes(data: bytes) -> str:
    return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)
