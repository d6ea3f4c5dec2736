"""What an answer is bound to: the request's formats and tools, as far as they can be enforced, in the model's dialect.

Pure. Raises what ``text/schema`` refuses, before anything runs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from lowcloud.core.errors import Unsupported
from lowcloud.core.messages import Messages
from lowcloud.core.output import Format, JsonSchema
from lowcloud.core.requests import Generate
from lowcloud.core.tools import Tool
from lowcloud.text.dialects.dialect import Dialect, Outlook
from lowcloud.text.grammar import LarkWriter, Wanted
from lowcloud.text.schema import enforced


@dataclass(frozen=True, slots=True)
class Bounds:
    """``grammar`` is empty where nothing bounds the answer; ``loosened`` names what of the schemas isn't in it."""

    grammar: str
    loosened: tuple[str, ...] = ()


def bounds_of(
    request: Generate, dialect: Dialect, token_ids: Mapping[str, int], *, is_thinking: bool, may_think: bool
) -> Bounds:
    """``token_ids``: the control tokens by their texts. Raises UnsupportedSchema, Unsupported, BadRequest."""
    loosened: list[str] = []
    tools = tuple(_enforced_tool(tool, loosened) for tool in request.tools.tools)
    wanted = Wanted(
        output=_enforced_output(request.output, loosened),
        plan=replace(request.tools, tools=tools),
        is_thinking=is_thinking,
        may_think=may_think,
        thinking=request.thinking,
    )
    lark = LarkWriter(token_ids)
    grammar = dialect.grammar(lark, wanted)
    return Bounds(grammar or "", tuple(dict.fromkeys((*loosened, *lark.loosened))))


def outlook_of(request: Generate, *, is_thinking: bool) -> Outlook:
    """Calls are looked for where there may be some."""
    tools = request.tools.tools if request.tools.mode != "none" else ()
    return Outlook(tools, is_thinking, is_forced=request.tools.mode == "required")


def refuse_images(prompt: Messages, why: str) -> None:
    """Raises Unsupported for a conversation that has some."""
    for index, message in enumerate(prompt.messages):
        if message.images:
            path = message.images[0].param or f"messages[{index}].content"
            raise Unsupported(f"{path}: {why}.", param=path)


def _enforced_output(output: Format, loosened: list[str]) -> Format:
    if not isinstance(output, JsonSchema):
        return output
    schema = enforced(output.schema, param=output.param, is_strict=output.is_strict)
    loosened += schema.loosened
    return replace(output, schema=schema.schema)


def _enforced_tool(tool: Tool, loosened: list[str]) -> Tool:
    if tool.parameters is None:
        return tool
    schema = enforced(tool.parameters, param=tool.param, is_strict=tool.is_strict, is_object=True)
    loosened += schema.loosened
    return replace(tool, parameters=schema.schema)
