"""What a dialect is: how a family of models is told of tools, how it writes calls and reasoning, how that is read."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from lowcloud.core.messages import Messages
from lowcloud.core.tools import Tool
from lowcloud.text.channels import Reader, Script
from lowcloud.text.grammar import LarkWriter, Wanted


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is known of an output before it comes: the tools whose calls count (none: no call is looked for), whether
    the prompt has opened the reasoning, and whether the grammar leaves no room for a text beside calls.
    """

    tools: Sequence[Tool] = ()
    is_thinking: bool = False
    is_forced: bool = False

    def tool(self, name: str) -> Tool | None:
        """The tool of this name that may be called."""
        return next((tool for tool in self.tools if tool.name == name), None)


class Dialect(Protocol):
    """One family's way. All methods are pure; a dialect has no state.

    ``marks`` are the control strings that its script reads: they are shown to it where the model gives them as control
    tokens; others are dropped. ``takes_tools``: the family's templates render tools; else ``retold`` puts them into
    words. ``has_text_arguments``: those templates take a call's arguments as JSON text, not as an object.
    """

    @property
    def name(self) -> str: ...
    @property
    def marks(self) -> tuple[str, ...]: ...
    @property
    def takes_tools(self) -> bool: ...
    @property
    def has_text_arguments(self) -> bool: ...

    def recognises(self, template: str) -> bool:
        """Whether a chat template is one of this family's."""

    def retold(self, prompt: Messages) -> Messages:
        """The conversation as the family's templates take it; every conversation is retold before it is rendered.

        Where they know no tools, tools and calls become words of the messages; where they want ids of a special form,
        calls get such ids.
        """

    def is_thinking(self, rendered: str) -> bool:
        """Whether a rendered prompt leaves the answer inside the reasoning."""

    def grammar(self, lark: LarkWriter, wanted: Wanted) -> str | None:
        """What the answer may be; None where nothing bounds it. Raises Unsupported, or
        UnsupportedSchema for a strict tool, naming the field; what of others is left out, ``lark.loosened`` names.
        """

    def script(self, reader: Reader, outlook: Outlook) -> Script:
        """Reads one output."""
