"""DeepSeek V3.2, V4 and V4.1: a block of calls in an XML of its own, whose parameters say whether they are strings.

Source: the encoders that come with deepseek-ai/DeepSeek-V3.2, DeepSeek-V4-Flash and DeepSeek-V4.1-Flash.
"""

import re
from dataclasses import dataclass

from lowcloud.core.messages import Messages
from lowcloud.core.tools import Tool
from lowcloud.text.channels import Reader, Script
from lowcloud.text.dialects.dialect import Outlook
from lowcloud.text.dialects.parameter_grammar import ParameterSyntax, arguments_expression
from lowcloud.text.dialects.parameters import Arguments
from lowcloud.text.dialects.reading import arguments_schema, read_body, read_thinking
from lowcloud.text.grammar import CallSyntax, LarkWriter, Thinking, Wanted, answer_grammar

MARK = "｜DSML｜"
THINKING = Thinking("<think>", "</think>")
IS_TEXT = {True: 'string="true"', False: 'string="false"'}


@dataclass(frozen=True, slots=True)
class Dsml:
    """The dialect. ``block`` is the tag around the calls; ``gap`` stands in each tag after the mark."""

    name: str
    block: str
    gap: str = ""
    marks: tuple[str, ...] = (MARK, THINKING.opening, THINKING.closing)
    takes_tools: bool = True
    has_text_arguments: bool = False

    def recognises(self, template: str) -> bool:
        # Templates keep the mark in a variable, so the tag stands apart from it.
        return MARK in template and re.search(rf"(?<![\w.]){self.gap}{self.block}>", template) is not None

    def retold(self, prompt: Messages) -> Messages:
        return prompt

    def is_thinking(self, rendered: str) -> bool:
        return rendered.rstrip().endswith(THINKING.opening)

    def grammar(self, lark: LarkWriter, wanted: Wanted) -> str | None:
        closer = "\n" + self._close(self.block)
        syntax = CallSyntax(self._call, opener=self._open(self.block), closer=closer, lead="\n\n")
        return answer_grammar(lark, wanted, syntax, THINKING)

    def script(self, reader: Reader, outlook: Outlook) -> Script:
        yield from reader.spaces()
        yield from read_thinking(reader, THINKING, is_open=outlook.is_thinking)
        openers = (self._open(self.block),)
        yield from read_body(reader, outlook, THINKING, openers, lambda _: self._read_calls(reader, outlook))

    def _tag(self, name: str) -> str:
        return f"{MARK}{self.gap}{name}"

    def _open(self, name: str) -> str:
        return f"<{self._tag(name)}>"

    def _close(self, name: str) -> str:
        return f"</{self._tag(name)}>"

    def _call(self, lark: LarkWriter, tool: Tool) -> str:
        end = self._close("parameter")
        parameters = ParameterSyntax(
            lambda key, is_text: f'<{self._tag("parameter")} name="{key}" {IS_TEXT[is_text]}>',
            f"{end}\n",
            (end.replace("/", r"\/"),),
            tells_strings=True,
        )
        arguments = arguments_expression(lark, tool, parameters)
        if not arguments_schema(tool).get("required"):
            empty = lark.literal("\n")  # what the encoders write for no parameters
            arguments = f"({arguments} | {empty})" if arguments else empty
        begin = lark.literal(f'\n<{self._tag("invoke")} name="{tool.name}">\n')
        return f"{begin} {arguments} {lark.literal(self._close('invoke'))}"

    def _read_calls(self, reader: Reader, outlook: Outlook) -> Script:
        begin = f'<{self._tag("invoke")} name="'
        while True:
            yield from reader.spaces()
            if (yield from reader.goes_on((begin, self._close(self.block)))) != begin:
                return
            name = yield from reader.word('"<\n')
            if (yield from reader.goes_on(('">', '"/>', '" />'))) == '">':
                yield from self._read_parameters(reader, Arguments(reader, name, outlook.tool(name)))
            else:
                Arguments(reader, name, None).end()

    def _read_parameters(self, reader: Reader, arguments: Arguments) -> Script:
        begin, end = f'<{self._tag("parameter")} name="', self._close("parameter")
        while True:
            yield from reader.spaces()
            mark = yield from reader.goes_on((begin, self._close("invoke")))
            if mark != begin:
                break
            key = yield from reader.word('"\n')
            told = yield from reader.word(">\n")
            value: list[str] = []
            if (yield from reader.goes_on((">",))) is None or (yield from reader.until((end,), value.append)) is None:
                return
            says = [is_text for is_text, attribute in IS_TEXT.items() if attribute in told]
            arguments.add(key, "".join(value), is_text=says[0] if says else None)
        if mark is not None:
            arguments.end()


DEEPSEEK_V32 = Dsml("deepseek-v3.2", "function_calls")
DEEPSEEK_V4 = Dsml("deepseek-v4", "tool_calls")
DEEPSEEK_V41 = Dsml("deepseek-v4.1", "calls", " ")
