"""A model's chat template: a conversation becomes the text that the model was trained to go on from.

Templates are Jinja programs that come with weights, so they run in Jinja's immutable sandbox, bounded in output and in
time. What they may use is what Hugging Face's ``apply_chat_template`` gives them
(Source: transformers, utils/chat_template_utils.py, 5.0).
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from jinja2 import TemplateError, TemplateSyntaxError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from lowcloud.core.errors import BadRequest, ModelUnusable
from lowcloud.core.messages import Message

_PARAM = "messages"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one rendering may give and take; time is checked at each piece of output."""

    max_characters: int = 64 * 2**20
    max_seconds: float = 20.0


class ChatTemplate:
    """One model's template, compiled once; rendering is pure but for ``now``, and safe in several threads.

    ``now`` is the time that a template may write into a prompt. Raises ModelUnusable for a source that doesn't compile.
    """

    def __init__(
        self, source: str, *, bos_token: str, eos_token: str, now: Callable[[], datetime], limits: Limits | None = None
    ) -> None:
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
        )
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _refuse
        environment.globals["strftime_now"] = lambda form: now().strftime(form)
        try:
            self._template = environment.from_string(source)
        except TemplateSyntaxError as error:
            message = f"The chat template doesn't compile (line {error.lineno}); the log says more."
            raise ModelUnusable(message) from error
        self._limits = limits or Limits()
        self._knows_developer = "developer" in source
        self._tokens = {"bos_token": bos_token, "eos_token": eos_token}

    def render(self, messages: Sequence[Message]) -> str:
        """The prompt, the beginning of the assistant's turn included. Blocking: milliseconds, seconds at the bounds.

        A developer's message is the system's to a template that doesn't know developers. Raises BadRequest, with the
        template's own words where it refuses the conversation.
        """
        variables = {"tools": None, "documents": None, "add_generation_prompt": True, **self._tokens}
        turns = [self._turn(message) for message in messages]
        try:
            return self._joined(messages=turns, **variables)
        except TemplateError as error:
            raise BadRequest(
                f"The model's chat template can't render this conversation: {error}.", param=_PARAM
            ) from error
        except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
            # The template is a program of others: what its expressions raise on this conversation comes out as it is.
            raise BadRequest("The model's chat template can't render this conversation.", param=_PARAM) from error

    def _turn(self, message: Message) -> dict[str, str]:
        role: str = message.role
        if role == "developer" and not self._knows_developer:
            role = "system"
        elif role == "function":
            role = "tool"
        turn = {"role": role, "content": message.text}
        return turn if message.name is None else {**turn, "name": message.name}

    def _joined(self, **variables: object) -> str:
        pieces: list[str] = []
        n_characters, end = 0, time.monotonic() + self._limits.max_seconds
        for piece in self._template.generate(**variables):
            pieces.append(piece)
            n_characters += len(piece)
            if n_characters > self._limits.max_characters or time.monotonic() > end:
                raise BadRequest("The conversation is too long for the model's chat template.", param=_PARAM)
        return "".join(pieces)


class _Generation(Extension):
    """``{% generation %}`` marks the assistant's words for training; here its body is the body."""

    tags = {"generation"}  # noqa: RUF012 - as Jinja declares it

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _refuse(message: str) -> None:
    raise BadRequest(f"The model's chat template refuses this conversation: {message}", param=_PARAM)


def _to_json(
    value: object,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """With json's own options, which templates use. Jinja's filter escapes ``<`` for HTML, which models never saw."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
