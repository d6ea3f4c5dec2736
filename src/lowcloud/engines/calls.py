"""A sequence's tool calls, from the pieces of its output to the events of its choice."""

import json
import secrets
from collections.abc import Callable, Sequence
from typing import TypeAlias

from lowcloud.core.events import ToolCallDelta
from lowcloud.core.tools import Tool
from lowcloud.text.channels import CallArguments, CallBegin, CallEnd
from lowcloud.text.dialects.reading import INPUT

CallPart: TypeAlias = CallBegin | CallArguments | CallEnd


def new_call_id() -> str:
    """An id for a call that has none."""
    return f"call_{secrets.token_hex(12)}"


class Calls:
    """One choice's calls. ``new_id`` names those to which the model gave no id, or one that it had given before."""

    def __init__(self, choice: int, tools: Sequence[Tool], new_id: Callable[[], str]) -> None:
        self._choice, self._new_id = choice, new_id
        self._custom = frozenset(tool.name for tool in tools if tool.input is not None)
        self._ids: set[str] = set()
        self._index = -1
        self._input: list[str] | None = None
        self.n_complete = 0

    def delta(self, part: CallPart) -> ToolCallDelta | None:
        """What the caller gets of it. A custom tool's input comes whole: on the model's side it is JSON."""
        match part:
            case CallBegin(name=name, id=given):
                self._index += 1
                self._input = [] if name in self._custom else None
                return ToolCallDelta(self._choice, self._index, id=self._own(given), name=name)
            case CallArguments(text=text):
                if self._input is None:
                    return ToolCallDelta(self._choice, self._index, text)
                self._input.append(text)
                return None
            case CallEnd():
                self.n_complete += 1
                rest = "" if self._input is None else _input_of("".join(self._input))
                return ToolCallDelta(self._choice, self._index, rest, is_complete=True)

    def _own(self, given: str | None) -> str:
        own = given if given and given not in self._ids else self._new_id()
        self._ids.add(own)
        return own


def _input_of(arguments: str) -> str:
    """The input in a custom call's arguments; they are JSON of an object, but a model may have named it otherwise."""
    value = json.loads(arguments).get(INPUT)
    return value if isinstance(value, str) else arguments
