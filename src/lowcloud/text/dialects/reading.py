"""What several dialects share: scripts of reasoning between marks, and how calls are written and read as JSON."""

import json
from collections.abc import Callable, Generator, Iterable, Sequence

from lowcloud.core.messages import ToolCall
from lowcloud.core.output import Lark, Regex, Schema
from lowcloud.core.tools import Tool
from lowcloud.text.channels import Emit, Reader, Script
from lowcloud.text.dialects.dialect import Outlook
from lowcloud.text.grammar import LarkWriter, Thinking

INPUT = "input"  # a custom tool's one argument
NAMES = ("name",)
ARGUMENTS = ("arguments", "parameters")


def read_thinking(reader: Reader, thinking: Thinking, *, is_open: bool) -> Generator[None, None, None]:
    """Read the reasoning that an answer begins with, if it does, and the white space after it."""
    if not is_open:
        openings = [space + thinking.opening for space in ("", "\n", "\n\n")]
        if (yield from reader.goes_on(openings)) is None:
            return
    yield from read_thought(reader, thinking)


def read_thought(reader: Reader, thinking: Thinking) -> Generator[None, None, None]:
    """Read on inside the reasoning, to its end and past the white space after it."""
    yield from reader.goes_on((thinking.opening,))  # a model that writes again what the prompt has opened
    yield from reader.spaces()
    yield from reader.until((thinking.closing,), Trimmed(reader.thought))
    yield from reader.spaces()


def read_body(
    reader: Reader, outlook: Outlook, thinking: Thinking, openers: Sequence[str], read_call: Callable[[str], Script]
) -> Script:
    """Read an answer to its end: text, calls, and reasoning that comes between them.

    ``read_call`` reads on behind one of ``openers``, which it is told.
    """
    marks = (*openers, thinking.opening) if outlook.tools else (thinking.opening,)
    while (mark := (yield from reader.until(marks, answer_emit(reader, outlook)))) is not None:
        if mark == thinking.opening:
            yield from read_thought(reader, thinking)
        else:
            reader.drop_space()
            yield from read_call(mark)


def answer_emit(reader: Reader, outlook: Outlook) -> Emit:
    """What takes the answer's text: before a call, white space is no part of it.

    Where a call is forced there is none; what was cut is a piece of the call.
    """
    if outlook.is_forced:
        return nothing
    return reader.words if outlook.tools else reader.content


def nothing(text: str) -> None:
    """Takes text that is no part of the answer."""


class Trimmed:
    """Passes a text on without the white space at its end."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._space = ""

    def __call__(self, text: str) -> None:
        known = self._space + text
        said = known.rstrip()
        self._space = known[len(said) :]
        if said:
            self._emit(said)


def arguments_schema(tool: Tool) -> Schema:
    """The schema of a tool's arguments: an object. Of a custom tool's, one with the input alone."""
    if tool.input is None:
        return {"type": "object", **(tool.parameters or {})}
    text = {"type": "string", "pattern": f"^(?:{tool.input.pattern})$"} if isinstance(tool.input, Regex) else {}
    return {
        "type": "object",
        "properties": {INPUT: {"type": "string", **text}},
        "required": [INPUT],
        "additionalProperties": False,
    }


def arguments_as_json(lark: LarkWriter, tool: Tool) -> str:
    """An expression for a call's arguments, as JSON. Raises BadRequest for a custom tool's grammar that can't bind."""
    if not isinstance(tool.input, Lark):
        return lark.json(arguments_schema(tool))
    head = json.dumps(f'{{"{INPUT}": ')
    return f"{head} {lark.json_text(tool.input)} {json.dumps('}')}"


def shown(text: str) -> str:
    """A text as a JSON string."""
    return json.dumps(text, ensure_ascii=False)


def as_object(call: ToolCall, *, arguments: str = "arguments") -> str:
    """A call as models write it in JSON."""
    value = f'{{"{INPUT}": {shown(call.arguments)}}}' if call.is_custom else call.arguments
    return f'{{"name": {shown(call.name)}, "{arguments}": {value or "{}"}}}'


def call_head(tool: Tool, *, arguments: str = "arguments") -> str:
    """How a call that is written as JSON begins, up to its arguments."""
    return f'{{"name": {json.dumps(tool.name)}, "{arguments}": '


def call_head_in_words(lark: LarkWriter, tool: Tool, *, arguments: str) -> str:
    """The same as an expression, in the words that JSON is made of, so that an answer that begins so may go on
    otherwise.
    """
    words = ("{", '"name"', ": ", json.dumps(tool.name), ", ", f'"{arguments}"', ": ")
    return " ".join(map(lark.literal, words))


def json_call(lark: LarkWriter, tool: Tool) -> str:
    """An expression for a call that is written as JSON."""
    return f"{lark.literal(call_head(tool))} {arguments_as_json(lark, tool)} {lark.literal('}')}"


def read_arguments(reader: Reader) -> Generator[None, None, None]:
    """Read the present call's arguments, and end the call if they are JSON of an object."""
    if (yield from read_object(reader)):
        reader.end()


def read_object(reader: Reader) -> Generator[None, None, bool]:
    """Read the present call's arguments; whether they are JSON of an object."""
    known: list[str] = []

    def emit(text: str) -> None:
        known.append(text)
        reader.arguments(text)

    yield from reader.spaces()
    if (yield from reader.peek()) != "{":
        return False
    return (yield from reader.json(emit)) and is_object("".join(known))


def read_json_call(
    reader: Reader, *, names: Iterable[str] = NAMES, arguments: Iterable[str] = ARGUMENTS, ids: Iterable[str] = ("id",)
) -> Script:
    """Read one call written as an object with a name and arguments, in any order. What isn't one begins no call.

    Where the name comes first the arguments pass on as they come; what comes by their other name then is passed over.
    """
    yield from reader.spaces()
    if (yield from reader.goes_on(("{",))) is None:
        return
    call = _JsonCall(reader)
    while (key := (yield from read_key(reader))) is not None:
        if key in arguments and not call.has_begun:
            yield from call.read_arguments()
        else:
            value = yield from read_value(reader)
            if key in names and isinstance(value, str):
                call.name = value
            elif key in ids and isinstance(value, str):
                call.id = value
        yield from reader.spaces()
        mark = yield from reader.goes_on((",", "}"))
        if mark == "}":
            call.close()
        if mark != ",":
            return


def read_json_calls(reader: Reader, *, is_list: bool = False) -> Script:
    """Read a list of calls, or one call without brackets. ``is_list``: the list's opening bracket has been read."""
    yield from reader.spaces()
    is_list = is_list or (yield from reader.goes_on(("[",))) is not None
    while True:
        yield from read_json_call(reader)
        yield from reader.spaces()
        if not is_list or (yield from reader.goes_on((",", "]"))) != ",":
            return


class _JsonCall:
    """A call whose members come in any order."""

    def __init__(self, reader: Reader) -> None:
        self.name: str | None = None
        self.id: str | None = None
        self._reader = reader
        self._arguments = ["{}"]
        self.has_begun = False

    def read_arguments(self) -> Generator[None, None, None]:
        self._arguments = []
        yield from self._reader.spaces()
        if self.name is not None and (yield from self._reader.peek()) == "{":
            self._begin(self.name)
        yield from self._reader.json(self._add)

    def close(self) -> None:
        """The object is complete: so is the call, if it has a name and its arguments are JSON of an object."""
        text = _unquoted("".join(self._arguments))
        if self.name is None or not is_object(text):
            return
        if not self.has_begun:
            self._begin(self.name)
            self._reader.arguments(text)
        self._reader.end()

    def _begin(self, name: str) -> None:
        self._reader.begin(name, self.id)
        self.has_begun = True

    def _add(self, text: str) -> None:
        self._arguments.append(text)
        if self.has_begun:
            self._reader.arguments(text)


def is_object(text: str) -> bool:
    """Whether a text is JSON of an object."""
    try:
        return isinstance(_parsed(text), dict)
    except ValueError:
        return False


def is_json(text: str) -> bool:
    """Whether a text is JSON."""
    try:
        _parsed(text)
    except ValueError:
        return False
    return True


def _parsed(text: str) -> object:
    """The value of a JSON text. Raises ValueError, also for what only Python's json reads, and for too deep a nest."""
    try:
        return json.loads(text, parse_constant=not_json)
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def not_json(constant: str) -> object:
    """For ``parse_constant``: NaN and Infinity, which Python reads."""
    raise ValueError(f"{constant} is no JSON")


def _unquoted(text: str) -> str:
    """Arguments that a model wrote as JSON in a JSON string, and null, as an object."""
    try:
        value = _parsed(text)
    except ValueError:
        return text
    if value is None:
        return "{}"
    return value if isinstance(value, str) else text


def read_key(reader: Reader) -> Generator[None, None, str | None]:
    """The next member's name, and the colon; None where there is no member."""
    yield from reader.spaces()
    if (yield from reader.peek()) != '"':
        return None
    name = yield from read_value(reader)
    yield from reader.spaces()
    if (yield from reader.goes_on((":",))) is None or not isinstance(name, str):
        return None
    return name


def read_value(reader: Reader) -> Generator[None, None, object]:
    """Read a JSON value; None also for what isn't one."""
    text: list[str] = []
    yield from reader.spaces()
    yield from reader.json(text.append)
    try:
        return _parsed("".join(text))
    except ValueError:
        return None
