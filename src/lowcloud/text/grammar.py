"""One grammar for a whole answer, in llguidance's dialect of Lark: reasoning, then a text, tool calls, or either. Pure.

Control tokens are written as such, ``<[id]>``, so that no text can stand for one; a mark that a vocabulary has no token
for is text.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from lowcloud.core.errors import BadRequest, Unsupported, UnsupportedSchema
from lowcloud.core.output import AnyText, Choice, Format, JsonSchema, Lark, Regex, Schema
from lowcloud.core.requests import ThinkingBound
from lowcloud.core.tools import Tool, ToolPlan
from lowcloud.text.lark.tree import BadGrammar
from lowcloud.text.lark.within_json import within_json

TEXT = "TEXT"
_TEXT = r"TEXT: /(.|\n)*/"
_SPACE = r"/[ \n]*/"
_IMPORT = "%llguidance {}"
# Without \\u escapes a name has one spelling, so that no free property can be a second one of a property that is named.
_ONE_SPELLING = {"json_allowed_escapes": 'nrbtf\\"'}


@dataclass(frozen=True, slots=True)
class Thinking:
    """``opening`` and ``closing`` stand around a model's reasoning."""

    opening: str
    closing: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an answer must be, schemas already cut to what can be enforced.

    ``is_thinking``: the prompt has opened the reasoning, so the answer begins in it. ``may_think``: the model may open
    it. ``thinking`` bounds it.
    """

    output: Format
    plan: ToolPlan
    is_thinking: bool = False
    may_think: bool = False
    thinking: ThinkingBound | None = None

    @property
    def is_bounded(self) -> bool:
        """Whether anything but the reasoning's length is bound."""
        return self.plan.mode != "none" or not isinstance(self.output, AnyText)


@dataclass(frozen=True, slots=True)
class CallSyntax:
    """How a model writes calls: ``opener call (between call)* closer``.

    ``call`` gives the expression of one tool's call, without the opener. Where there is a ``beginning``, calls stand at
    the answer's beginning only, and it is a regular expression for how they begin: no text may begin so. Then a literal
    must go on to where such a text is excluded, since of a text and a literal the longer is read: ``first`` gives the
    expression of the first call, with the opener, if ``call`` doesn't. ``lead`` is the white space that the model was
    taught to write before calls where no text is.
    """

    call: "Callable[[LarkWriter, Tool], str]"
    opener: str = ""
    between: str = ""
    closer: str = ""
    beginning: str = ""
    first: "Callable[[LarkWriter, Tool], str] | None" = None
    lead: str = ""


@dataclass
class LarkWriter:
    """Collects rules. ``token_ids`` has the model's control tokens by their texts.

    ``loosened`` gets the paths of what of the tools' schemas the rules leave out.
    """

    token_ids: Mapping[str, int]
    rules: list[str] = field(default_factory=list)
    loosened: list[str] = field(default_factory=list)

    def literal(self, text: str) -> str:
        """An expression for exactly this text, control tokens in it as tokens; empty for no text."""
        marks = sorted((mark for mark in self.token_ids if mark in text), key=len, reverse=True)
        pieces = re.split("(" + "|".join(map(re.escape, marks)) + ")", text) if marks else [text]
        shown = [f"<[{self.token_ids[piece]}]>" if piece in marks else json.dumps(piece) for piece in pieces if piece]
        return " ".join(shown)

    def rule(self, body: str, attributes: str = "") -> str:
        """Add a rule; its name."""
        name = f"r{len(self.rules)}"
        self.rules.append(f"{name}{f'[{attributes}]' if attributes else ''}: {body or json.dumps('')}")
        return name

    def json(self, schema: Schema) -> str:
        """An expression for JSON that the schema allows, as models write it: a space after each comma and colon."""
        options = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": ", **_ONE_SPELLING}
        return self.rule("%json " + json.dumps({**schema, "x-guidance": options}))

    def json_text(self, lark: Lark, *, escapes_slash: bool = False) -> str:
        """An expression for a JSON string whose text a caller's grammar derives. Raises BadRequest."""
        try:
            grammar = within_json(lark.grammar, escapes_slash=escapes_slash)
        except BadGrammar as error:
            raise BadRequest(f"{lark.param}: the grammar can't bind a text: {error}.", param=lark.param) from error
        return self._own_names(grammar)

    def caller_text(self, lark: Lark) -> str:
        """An expression for a text that a caller's grammar derives."""
        return self._own_names(lark.grammar)

    def _own_names(self, grammar: str) -> str:
        """The rule for a grammar whose names are none of ours."""
        return self.rule("%lark {\n" + grammar + "\n}")

    def terminal(self, body: str) -> str:
        """Add a terminal, an expression that is read as one word; its name."""
        name = f"T{len(self.rules)}"
        self.rules.append(f"{name}: {body}")
        return name

    def text_until(self, mark: str) -> str:
        """An expression for any text and then the mark, the first that comes."""
        if not self.has_token(mark):
            return self.rule(f"{TEXT} {json.dumps(mark)}", "lazy")
        return self.ended(TEXT, mark)

    def ended(self, body: str, mark: str) -> str:
        """An expression for a text of this terminal, and then the mark.

        They are one word as far as no token is in the mark: only what comes before its token can end the text. A mark
        without one ends it where the text can't hold it.
        """
        start = min((mark.index(token) for token in self.token_ids if token in mark), default=len(mark))
        head = f" {json.dumps(mark[:start])}" if start else ""
        text = body if body == TEXT and not head else self.terminal(f"({body}){head}")
        return f"{text} {self.literal(mark[start:])}".strip()

    def has_token(self, mark: str) -> bool:
        """Whether a part of the mark is a token, which no text can stand for."""
        return any(token in mark for token in self.token_ids)

    def thought(self, closing: str, bound: ThinkingBound | None) -> str:
        """An expression for reasoning and what closes it. Raises Unsupported for a bound on reasoning that no token
        closes.
        """
        if bound is None:
            return self.text_until(closing)
        if not any(closing.startswith(token) for token in self.token_ids):
            raise Unsupported(
                "This model's reasoning ends with no token of its own, so its length can't be bounded.",
                param=bound.param,
            )
        return f"{self.within(TEXT, bound.tokens)} {self.literal(closing)}"

    def within(self, body: str, max_tokens: int) -> str:
        """The expression, ended after so many tokens."""
        return self.rule(body, f"max_tokens={max_tokens}")

    def leave_out(self, tool: Tool, word: str) -> None:
        """Leave out of the rules what the model's calls can't keep to. Raises UnsupportedSchema for a strict tool.

        ``word``: the keyword's path in the tool's schema.
        """
        path = f"{tool.param}.{word}"
        if tool.is_strict:
            message = f"{path} can't be enforced in the way in which this model writes calls."
            raise UnsupportedSchema(message, param=path)
        self.loosened.append(path)

    def grammar(self, start: str) -> str:
        """The whole grammar."""
        return "\n".join([_IMPORT, f"start: {start}", _TEXT, *self.rules])


def answer_grammar(
    lark: LarkWriter, wanted: Wanted, syntax: CallSyntax, thinking: Thinking | None = None
) -> str | None:
    """The grammar of an answer of a model that writes calls by ``syntax``; None where nothing bounds it.

    Raises Unsupported for a bound on the reasoning of a model that can't keep it.
    """
    if not wanted.is_bounded and wanted.thinking is None:
        return None
    begin = _thinking(lark, wanted, thinking)
    if not wanted.is_bounded and not begin:
        return None  # a bound on reasoning asks nothing of a model that doesn't think
    body = answer(lark, wanted.output, wanted.plan, syntax)
    return lark.grammar(f"{begin} {body}".strip())


def answer(lark: LarkWriter, output: Format, plan: ToolPlan, syntax: CallSyntax) -> str:
    """An expression for what follows the reasoning."""
    if plan.mode == "none":
        return output_expression(lark, output)
    calls = _calls(lark, plan, syntax)
    lead = f"({lark.literal(syntax.lead)})?" if syntax.lead else ""
    if plan.mode == "required":
        return f"{lead} {lark.literal(syntax.opener)} {calls}".strip()
    if not isinstance(output, AnyText):
        return f"({output_expression(lark, output)} | {lead} {lark.literal(syntax.opener)} {calls})"
    if syntax.beginning:
        text = lark.terminal(rf"/(.|\n)*/ & ~/({escaped_regex(syntax.beginning)})(.|\n)*/")
        return f"({text} | {lark.literal(syntax.opener)} {calls})"
    trigger = lark.text_until(syntax.opener)
    return f"({trigger} {calls}){'?' if plan.at_most_one else '*'} {TEXT}"


def output_expression(lark: LarkWriter, output: Format) -> str:
    """An expression for a text of this format. Choices are one word: a rule holds 2,000 alternatives at most."""
    match output:
        case AnyText():
            return TEXT
        case JsonSchema(schema=schema):
            return lark.json(schema)
        case Regex(pattern=pattern):
            return lark.rule(f"/{escaped_regex(pattern)}/")
        case Choice(options=options):
            return lark.terminal(alternatives([json.dumps(option) for option in dict.fromkeys(options)]))
        case Lark():
            return lark.caller_text(output)


def escaped_regex(pattern: str) -> str:
    """The pattern as it stands between slashes."""
    return re.sub(r"(?<!\\)((?:\\\\)*)/", r"\1\\/", pattern).replace("\n", r"\n")


def _calls(lark: LarkWriter, plan: ToolPlan, syntax: CallSyntax) -> str:
    first = lark.rule(alternatives([(syntax.first or syntax.call)(lark, tool) for tool in plan.tools]))
    one = first if syntax.first is None else lark.rule(alternatives([syntax.call(lark, tool) for tool in plan.tools]))
    more = "" if plan.at_most_one else f"({lark.literal(syntax.between)} {one})*"
    return " ".join(filter(None, (first, more, lark.literal(syntax.closer))))


def alternatives(expressions: Sequence[str]) -> str:
    """Any of the expressions."""
    return " | ".join(expressions)


def _thinking(lark: LarkWriter, wanted: Wanted, thinking: Thinking | None) -> str:
    if thinking is None or not (wanted.is_thinking or wanted.may_think):
        return ""
    thought = lark.thought(thinking.closing, wanted.thinking)
    space = lark.rule(_SPACE)
    thought = f"{thought} {space}"
    return thought if wanted.is_thinking else f"({space} {lark.literal(thinking.opening)} {thought})?"
