"""A model's chat template: a conversation becomes the text that the model was trained to go on from.

Templates are Jinja programs that come with weights, so they run in Jinja's immutable sandbox, bounded in output and in
time. What they may use is what Hugging Face's ``apply_chat_template`` gives them
(Source: transformers, utils/chat_template_utils.py, 5.24).
"""

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from jinja2 import TemplateError, TemplateSyntaxError, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from lowcloud.core.errors import BadRequest, ModelUnusable
from lowcloud.core.messages import Message, Messages, ToolCall
from lowcloud.core.tools import Tool
from lowcloud.text.turns import CallShape, Hide, Turns

_PARAM = "messages"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one rendering may give and take; time is checked at each piece of output."""

    max_characters: int = 64 * 2**20
    max_seconds: float = 20.0


_TRIAL = Limits(max_characters=2**20, max_seconds=1.0)
_SHAPES = tuple(CallShape(is_text, is_none) for is_none in (False, True) for is_text in (False, True))
_CALL = Messages(
    (
        Message("user", "Hi"),
        Message("assistant", "", calls=(ToolCall("callnumb1", "f_name", '{"a_key": "a_value"}'),)),
        Message("tool", "1", call_id="callnumb1"),
    ),
    (Tool("f_name", "Does it.", {"type": "object", "properties": {}}),),
)
_QUOTED_KEY = re.compile(r"""'a_key'|\\"a_key""")


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
        environment.globals["dict"] = _Dict()
        environment.globals["namespace"] = _Namespace
        environment.globals["strftime_now"] = lambda form: now().strftime(form)
        try:
            self._template = environment.from_string(source)
        except TemplateSyntaxError as error:
            message = f"The chat template doesn't compile (line {error.lineno}); the log says more."
            raise ModelUnusable(message) from error
        self._limits = limits or Limits()
        self._knows_developer = "developer" in source
        self._tokens = {"bos_token": bos_token, "eos_token": eos_token}
        self._shapes = [shape for shape in _SHAPES if self._shows_calls(shape)]

    def render(self, prompt: Messages, hide: Hide = str, *, has_text_arguments: bool = False) -> str:
        """The prompt, the beginning of the assistant's turn included. Blocking: milliseconds, seconds at the bounds.

        ``hide`` changes every text that came from the caller. ``has_text_arguments``: the dialect's, where the template
        takes calls' arguments either way. A developer's message is the system's to a template that doesn't know
        developers. Raises BadRequest, with the template's own words where it refuses the conversation.
        """
        turns = Turns(hide, self._knows_developer, self.shape(has_text_arguments=has_text_arguments))
        return self._rendered(turns.variables(prompt), self._limits)

    def shape(self, *, has_text_arguments: bool) -> CallShape:
        """How the template takes calls: as it shows them; where more than one way does, arguments as is said here."""
        asked = CallShape(has_text_arguments)
        return asked if asked in self._shapes else next(iter(self._shapes), asked)

    def _shows_calls(self, shape: CallShape) -> bool:
        """Whether a call of this shape is in the prompt, and its arguments are neither Python nor JSON in JSON."""
        variables = Turns(str, shape=shape).variables(_CALL)
        try:
            text = self._rendered(variables, _TRIAL)
        except BadRequest:
            return False
        return all(word in text for word in ("f_name", "a_key", "a_value")) and not _QUOTED_KEY.search(text)

    def _rendered(self, variables: Mapping[str, object], limits: Limits) -> str:
        try:
            return self._joined({**variables, **self._tokens}, limits)
        except TemplateError as error:
            raise BadRequest(
                f"The model's chat template can't render this conversation: {error}.", param=_PARAM
            ) from error
        except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
            # The template is a program of others: what its expressions raise on this conversation comes out as it is.
            raise BadRequest("The model's chat template can't render this conversation.", param=_PARAM) from error

    def _joined(self, variables: Mapping[str, object], limits: Limits) -> str:
        pieces: list[str] = []
        n_characters, end = 0, time.monotonic() + limits.max_seconds
        for piece in self._template.generate(variables):
            pieces.append(piece)
            n_characters += len(piece)
            if n_characters > limits.max_characters or time.monotonic() > end:
                raise BadRequest("The conversation is too long for the model's chat template.", param=_PARAM)
        return "".join(pieces)


class _Generation(Extension):
    """``{% generation %}`` marks the assistant's words for training; here its body is the body."""

    tags = {"generation"}  # noqa: RUF012 - as Jinja declares it

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Dict:
    """``dict`` without the attributes of the class, by which templates could reach what isn't theirs."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)

    def fromkeys(self, *args: Any) -> dict[Any, Any]:
        return dict.fromkeys(*args)


class _Namespace(Namespace):
    """``namespace``, without names that begin with an underscore."""

    def __init__(*args: Any, **kwargs: Any) -> None:  # ``self`` may be a name of the template's own
        names = dict(*args[1:], **kwargs)
        for name in names:
            _check_name(name)
        Namespace.__init__(args[0], names)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_name(name)
        super().__setitem__(name, value)


def _check_name(name: object) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise SecurityError(f"a namespace has no {name}")


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
