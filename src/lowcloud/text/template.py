"""A model's chat template: a conversation becomes the text that the model was trained to go on from.

Templates are Jinja programs that come with weights, so they run in a sandbox, bounded in output and in time.
"""

import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from jinja2 import TemplateError, TemplateSyntaxError
from jinja2.meta import find_undeclared_variables

from lowcloud.core.errors import BadRequest, ModelUnusable
from lowcloud.core.messages import Message, Messages, ToolCall
from lowcloud.core.tools import Tool
from lowcloud.text.meter import TooLong
from lowcloud.text.sandbox import TICK, Sandbox
from lowcloud.text.turns import CallShape, Hide, Turns

_PARAM = "messages"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one rendering may give and take."""

    max_characters: int = 64 * 2**20
    max_seconds: float = 20.0


# The template is a program of others: what its expressions raise on a conversation comes out as it is.
_FAILURES = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
_MAX_TRIAL_S = 5.0
_SHAPES = tuple(CallShape(is_text, is_none) for is_none in (False, True) for is_text in (False, True))
_HELLO = Messages((Message("user", "a_greeting"),))
_QUOTED_KEY = re.compile(r"""'a_key'|\\"a_key""")
_QUOTED_PART = re.compile(r"""['"]a_greeting""")


class ChatTemplate:
    """One model's template, compiled once; rendering is pure but for ``now``, and safe in several threads.

    ``now`` is the time that a template may write into a prompt. ``reads`` are the names of the variables that it reads.
    Raises ModelUnusable for a source that doesn't compile.
    """

    def __init__(
        self, source: str, *, bos_token: str, eos_token: str, now: Callable[[], datetime], limits: Limits | None = None
    ) -> None:
        try:
            sandbox = Sandbox(now, _refuse)
            self._template = sandbox.from_string(source)
            self.reads = frozenset(find_undeclared_variables(sandbox.parse(source)))
        except (TemplateSyntaxError, SyntaxError, RecursionError) as error:
            where = f" (line {error.lineno})" if isinstance(error, TemplateSyntaxError) else ""
            message = f"The chat template doesn't compile{where}; the log says more."
            raise ModelUnusable(message) from error
        self._limits = limits or Limits()
        self._trial_limits = replace(self._limits, max_seconds=min(self._limits.max_seconds, _MAX_TRIAL_S))
        self._knows_developer = "developer" in source
        self._tokens = {"bos_token": bos_token, "eos_token": eos_token}
        self._has_parts = self._wants_parts()
        self._shapes = tuple(self._shapes_shown())

    def render(self, prompt: Messages, hide: Hide = str, *, has_text_arguments: bool = False) -> str:
        """The prompt, the beginning of the assistant's turn included. Blocking: milliseconds, seconds at the bounds.

        ``hide`` changes every text that came from the caller. ``has_text_arguments``: the dialect's, where the template
        takes calls' arguments either way. A developer's message is the system's to a template that doesn't know
        developers. Raises BadRequest, with the template's own words where it refuses the conversation.
        """
        shape = self.shape(has_text_arguments=has_text_arguments)
        turns = Turns(hide, self._knows_developer, shape, self._has_parts)
        try:
            return self._joined(turns.variables(prompt), self._limits)
        except TooLong as error:
            raise BadRequest("The conversation is too long for the model's chat template.", param=_PARAM) from error
        except TemplateError as error:
            raise BadRequest(
                f"The model's chat template can't render this conversation: {error}.", param=_PARAM
            ) from error
        except _FAILURES as error:
            raise BadRequest("The model's chat template can't render this conversation.", param=_PARAM) from error

    def shape(self, *, has_text_arguments: bool) -> CallShape:
        """How the template takes calls: as it shows them; where more than one way does, arguments as is said here."""
        asked = CallShape(has_text_arguments)
        return asked if asked in self._shapes else next(iter(self._shapes), asked)

    def shows_calls(self, retold: Callable[[Messages], Messages], *, has_text_arguments: bool, has_tools: bool) -> bool:
        """Whether what was called before, as ``retold``, and what came of it come into the prompt, if it renders."""
        turns = Turns(str, shape=self.shape(has_text_arguments=has_text_arguments), has_parts=self._has_parts)
        for n_calls in (1, 2):
            prompt = _trial(n_calls, has_tools=has_tools)
            try:
                text = self._joined(turns.variables(retold(prompt)), self._trial_limits)
            except (TooLong, TemplateError, BadRequest, *_FAILURES):
                continue  # refused, not lost
            if not all(f"{word}{n}" in text for word in ("a_value", "a_result") for n in range(n_calls)):
                return False
        return True

    def _wants_parts(self) -> bool:
        """Whether a text comes into the prompt as a list's part alone: not as a string, nor as a list in notation."""
        for has_parts in (False, True):
            try:
                text = self._joined(Turns(str, has_parts=has_parts).variables(_HELLO), self._trial_limits)
            except TooLong:
                return False
            except (TemplateError, BadRequest, *_FAILURES):
                continue
            if "a_greeting" in text and not _QUOTED_PART.search(text):
                return has_parts
        return False

    def _shapes_shown(self) -> Iterator[CallShape]:
        """The shapes in which a call comes into the prompt, its arguments neither as Python nor as JSON in JSON."""
        for shape in _SHAPES:
            turns = Turns(str, shape=shape, has_parts=self._has_parts)
            try:
                text = self._joined(turns.variables(_trial(1, has_tools=True)), self._trial_limits)
            except TooLong:
                return
            except (TemplateError, BadRequest, *_FAILURES):
                continue
            if all(word in text for word in ("f_name", "a_key", "a_value")) and not _QUOTED_KEY.search(text):
                yield shape

    def _joined(self, variables: Mapping[str, object], limits: Limits) -> str:
        end = time.monotonic() + limits.max_seconds

        def tick() -> None:
            if time.monotonic() > end:
                raise TooLong

        pieces: list[str] = []
        n_left = limits.max_characters
        for piece in self._template.generate({**variables, **self._tokens, TICK: tick}):
            tick()
            pieces.append(piece)
            n_left -= len(piece)
            if n_left < 0:
                raise TooLong
        return "".join(pieces)


def _trial(n_calls: int, *, has_tools: bool) -> Messages:
    """A conversation in which so many calls were made at once, the end of it their results."""
    calls = tuple(ToolCall(f"callnumb{n}", "f_name", f'{{"a_key": "a_value{n}"}}') for n in range(n_calls))
    results = (Message("tool", f"a_result{n}", call_id=call.id) for n, call in enumerate(calls))
    tool = Tool("f_name", "Does it.", {"type": "object", "properties": {}})
    turns = (Message("user", "Hi"), Message("assistant", "", calls=calls), *results)
    return Messages(turns, (tool,) if has_tools else ())


def _refuse(message: str) -> None:
    raise BadRequest(f"The model's chat template refuses this conversation: {message}", param=_PARAM)
