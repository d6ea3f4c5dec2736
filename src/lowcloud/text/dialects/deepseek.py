"""DeepSeek V3, R1 and V3.1: calls between control tokens, their arguments as JSON, which V3 and R1 fence.

The models' own templates render calls and results, and know no tools, so the system prompt tells of them.
Source: the chat templates of deepseek-ai/DeepSeek-R1 and deepseek-ai/DeepSeek-V3.1, and the latter's model card.
"""

from dataclasses import dataclass

from lowcloud.core.messages import Messages
from lowcloud.core.tools import Tool
from lowcloud.text.channels import Reader, Script
from lowcloud.text.dialects.dialect import Outlook
from lowcloud.text.dialects.generic import tools_in_words
from lowcloud.text.dialects.reading import arguments_as_json, read_body, read_object, read_thinking
from lowcloud.text.grammar import CallSyntax, LarkWriter, Thinking, Wanted, answer_grammar

OPEN, CLOSE = "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"
CALL, CALL_END, SEPARATOR = "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>", "<｜tool▁sep｜>"
FENCE = "```"
THINKING = Thinking("<think>", "</think>")
TELL = """## Tools
You have access to the following tools:

{tools}

IMPORTANT: ALWAYS adhere to this exact format for tool use:
{example}

Where:

- `tool_call_name` must be an exact match to one of the available tools
- `tool_call_arguments` must be valid JSON that strictly follows the tool's Parameters Schema
"""


@dataclass(frozen=True, slots=True)
class DeepSeek:
    """The dialect. A call is ``before``, its name, ``after``, its arguments, ``end``; ``between`` two of them."""

    name: str
    before: str
    after: str
    end: str
    between: str
    marks: tuple[str, ...] = (OPEN, CLOSE, CALL, CALL_END, SEPARATOR, THINKING.opening, THINKING.closing)
    takes_tools: bool = False
    has_text_arguments: bool = True

    def recognises(self, template: str) -> bool:
        return CALL in template and (f"{FENCE}json" in template) == (FENCE in self.after)

    def retold(self, prompt: Messages) -> Messages:
        example = f"{OPEN}{self.before}tool_call_name{self.after}tool_call_arguments{self.end}{CLOSE}"
        return tools_in_words(prompt, TELL.replace("{example}", example))

    def is_thinking(self, rendered: str) -> bool:
        return rendered.rstrip().endswith(THINKING.opening)

    def grammar(self, lark: LarkWriter, wanted: Wanted) -> str | None:
        syntax = CallSyntax(self._call, opener=OPEN, between=self.between, closer=CLOSE)
        return answer_grammar(lark, wanted, syntax, THINKING)

    def script(self, reader: Reader, outlook: Outlook) -> Script:
        yield from read_thinking(reader, THINKING, is_open=outlook.is_thinking)
        yield from read_body(reader, outlook, THINKING, (OPEN,), lambda _: _read_calls(reader))

    def _call(self, lark: LarkWriter, tool: Tool) -> str:
        begin, end = lark.literal(f"{self.before}{tool.name}{self.after}"), lark.literal(self.end)
        return f"{begin} {arguments_as_json(lark, tool)} {end}"


def _read_calls(reader: Reader) -> Script:
    while True:
        yield from reader.spaces()
        if (yield from reader.goes_on((CALL, CLOSE))) != CALL:
            return
        yield from _read_call(reader)


def _read_call(reader: Reader) -> Script:
    """Read a call of either form: the kind, a name and fenced arguments, or a name and arguments."""
    name = yield from reader.word("<\n{")
    if (yield from reader.goes_on((SEPARATOR,))) is None:
        return
    if (yield from reader.peek()) != "{":
        name = yield from reader.word("<\n{`")
    yield from reader.spaces()
    yield from reader.goes_on((f"{FENCE}json", FENCE))
    yield from reader.spaces()
    if (yield from reader.peek()) != "{" or not name.strip():
        return
    reader.begin(name.strip())
    is_whole = yield from read_object(reader)
    yield from reader.spaces()
    yield from reader.goes_on((FENCE,))
    yield from reader.spaces()
    if (yield from reader.goes_on((CALL_END,))) is not None and is_whole:
        reader.end()


DEEPSEEK_V3 = DeepSeek(
    "deepseek-v3", f"{CALL}function{SEPARATOR}", f"\n{FENCE}json\n", f"\n{FENCE}{CALL_END}", between="\n"
)
DEEPSEEK_V31 = DeepSeek("deepseek-v3.1", CALL, SEPARATOR, CALL_END, between="")
