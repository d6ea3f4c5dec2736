"""Llama 4, and Llama 3.2 where its template asks for it: calls are a Python list, ``[name(key=value), ...]``.

They stand at the answer's beginning, or between ``<|python_start|>`` and ``<|python_end|>``. Source: Meta's prompt
format for Llama 4; vLLM's tool_chat_template_llama4_pythonic.jinja and tool_chat_template_llama3.2_pythonic.jinja.
"""

from dataclasses import dataclass, replace

from lowcloud.core.messages import Messages
from lowcloud.text.channels import Reader, Script
from lowcloud.text.dialects import pythonic
from lowcloud.text.dialects.dialect import Outlook
from lowcloud.text.dialects.llama import MARKS, calls_begin, read_answer
from lowcloud.text.grammar import LarkWriter, Wanted, answer_grammar


@dataclass(frozen=True, slots=True)
class LlamaPythonic:
    """The dialect."""

    name: str = "llama-pythonic"
    marks: tuple[str, ...] = MARKS
    takes_tools: bool = True
    has_text_arguments: bool = False

    def recognises(self, template: str) -> bool:
        return "[func_name1(" in template and ("<|start_header_id|>" in template or "<|header_start|>" in template)

    def retold(self, prompt: Messages) -> Messages:
        return prompt

    def is_thinking(self, rendered: str) -> bool:  # noqa: ARG002 - as the protocol has it
        return False

    def grammar(self, lark: LarkWriter, wanted: Wanted) -> str | None:
        tools = wanted.plan.tools if wanted.plan.mode != "none" else ()
        syntax = replace(pythonic.syntax(lark, tools), beginning=calls_begin(tools))
        return answer_grammar(lark, wanted, syntax)

    def script(self, reader: Reader, outlook: Outlook) -> Script:
        yield from read_answer(reader, outlook)


DIALECT = LlamaPythonic()
