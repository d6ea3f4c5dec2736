"""The tools that a model may call, and whether it must."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from lowcloud.core.output import AnyText, Lark, Regex, Schema

ToolMode: TypeAlias = Literal["none", "auto", "required"]


@dataclass(frozen=True, slots=True)
class Tool:
    """A function, whose arguments are a JSON object that ``parameters`` describes; None: an object of any kind.

    Or a custom tool, where ``input`` isn't None: its one argument is a text of that format. A ``is_strict`` function's
    schema is enforced whole or refused; of others, what can't be enforced is left out. ``param`` is the path in the
    body of its schema, such as ``tools[2].function.parameters``.
    """

    name: str
    description: str | None = None
    parameters: Schema | None = None
    is_strict: bool = False
    input: AnyText | Regex | Lark | None = None
    param: str = "tools"


@dataclass(frozen=True, slots=True)
class ToolPlan:
    """``tools`` may be called: in mode "auto" if the model likes, in "required" at least one is. "none": text only.

    ``at_most_one``: no second call. Whether a caller named the one tool is the wire format's matter.
    """

    tools: tuple[Tool, ...] = ()
    mode: ToolMode = "none"
    at_most_one: bool = False


NO_TOOLS = ToolPlan()
