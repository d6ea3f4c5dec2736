"""canitoolcall's fixtures against our dialects: which dialect reads which, and what counts as right."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files

import pytest

from lowcloud.core.output import ANY_TEXT
from lowcloud.core.tools import Tool, ToolPlan
from lowcloud.text.channels import CallArguments, CallBegin, CallEnd, Channels, Content, Piece, Thought
from lowcloud.text.dialects.dialect import Dialect, Outlook
from lowcloud.text.grammar import Wanted

SIZES = range(9)
"""Characters of the chunks that an output comes in; 0: all in one."""


@dataclass
class Call:
    name: str
    arguments: str = ""


@dataclass
class Reading:
    """The fold of pieces: calls that ended, and text."""

    content: str = ""
    reasoning: str = ""
    calls: list[Call] = field(default_factory=list)
    open: Call | None = None

    def add(self, pieces: list[Piece]) -> "Reading":
        for piece in pieces:
            match piece:
                case Content(text=text):
                    self.content += text
                case Thought(text=text):
                    self.reasoning += text
                case CallBegin(name=name):
                    self.open = Call(name)
                case CallArguments(text=text):
                    assert self.open is not None
                    self.open.arguments += text
                case CallEnd():
                    assert self.open is not None
                    self.calls.append(self.open)
                    self.open = None
        return self

    def shown(self) -> dict[str, object]:
        calls = [{"name": call.name, "arguments": json.loads(call.arguments)} for call in self.calls]
        return {"content": self.content.strip(), "reasoning_content": self.reasoning.strip(), "tool_calls": calls}


@cache
def fixtures(family: str) -> tuple[dict, ...]:
    folder = files("canitoolcall") / "_data" / "fixtures" / family
    return tuple(_lines(folder))


def _lines(folder) -> Iterator[dict]:
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        if file.name.endswith(".jsonl"):
            yield from map(json.loads, filter(None, file.read_text("utf-8").splitlines()))


@cache
def _family(family: str) -> dict:
    return json.loads((files("canitoolcall") / "_data" / "fixtures" / family / "family.json").read_text("utf-8"))


def _prompt_end(fixture: dict) -> str:
    """How the prompts of the fixture's model end, where it doesn't say itself."""
    models = {model["repo"]: model for model in _family(fixture["family"])["reference_models"]}
    known = [models[name] for name in fixture["models"] if name in models]
    return known[0].get("default_generation_prompt") or "" if known else ""


def outlook(fixture: dict) -> Outlook:
    tools = [
        Tool(tool["function"]["name"], tool["function"].get("description"), tool["function"].get("parameters") or {})
        for tool in fixture["tools"]
    ]
    return Outlook(tools, is_thinking=False)


def rendered(family: str) -> list[dict]:
    """The fixtures that the models' own templates wrote, but for those that are cut."""
    return [
        fixture
        for fixture in fixtures(family)
        if fixture["provenance"]["kind"] == "template_render" and not {"truncated", "malformed"} & set(fixture["tags"])
    ]


def wanted(dialect: Dialect, fixture: dict) -> Wanted:
    """The request that the fixture answers: a call is required where it calls and says nothing else."""
    is_thinking = dialect.is_thinking(fixture.get("generation_prompt") or _prompt_end(fixture))
    expected = fixture["expected"]
    mode = "required" if expected["tool_calls"] and not expected["content"] else "auto"
    return Wanted(ANY_TEXT, ToolPlan(tuple(outlook(fixture).tools), mode), is_thinking=is_thinking, may_think=True)


def read(dialect: Dialect, fixture: dict, size: int = 0) -> Reading:
    """The fixture's output, whole or in chunks of ``size`` characters, the prompt's end as the fixture gives it."""
    expected = outlook(fixture)
    is_thinking = dialect.is_thinking(fixture.get("generation_prompt") or _prompt_end(fixture))
    return read_text(dialect, fixture["raw_output"], Outlook(expected.tools, is_thinking), size)


def read_text(dialect: Dialect, text: str, outlook: Outlook, size: int = 0) -> Reading:
    """An output, whole or in chunks of ``size`` characters."""
    return read_chunks(dialect, outlook, [text[i : i + size] for i in range(0, len(text), size)] if size else [text])


def read_chunks(dialect: Dialect, outlook: Outlook, chunks: Iterable[str], *, is_cut: bool = False) -> Reading:
    """An output, in these chunks."""
    channels = Channels(lambda reader: dialect.script(reader, outlook))
    reading = Reading()
    for chunk in chunks:
        reading.add(channels.feed(chunk))
    return reading.add(channels.end(is_cut=is_cut))


def by_tag(found: Iterable[dict], dialects: Mapping[str, Dialect]) -> list:
    """Each fixture behind the dialect that one of its tags names; for ``parametrize``."""
    return [
        pytest.param(dialects[tag], fixture, id=f"{dialects[tag].name}-{fixture['id']}")
        for fixture in found
        for tag in fixture["tags"]
        if tag in dialects
    ]


def is_right(fixture: dict, reading: Reading) -> bool:
    """As canitoolcall judges, white space at the ends of texts apart (its "soft" equality)."""
    if "expected_error" in fixture:
        return not reading.calls
    expected = fixture["expected"]
    wanted = {
        "content": (expected["content"] or "").strip(),
        "reasoning_content": (expected["reasoning_content"] or "").strip(),
        "tool_calls": expected["tool_calls"],
    }
    return _typed(reading.shown()) == _typed(wanted)


def misread(dialect: Dialect, fixture: dict) -> dict[int, Reading]:
    """The readings of the fixture that aren't right, by the size of their chunks."""
    readings = {size: read(dialect, fixture, size) for size in SIZES}
    return {size: reading for size, reading in readings.items() if not is_right(fixture, reading)}


def _typed(value: object) -> object:
    """JSON values told apart where Python calls them equal: true and 1."""
    match value:
        case bool():
            return ("bool", value)
        case dict():
            return {key: _typed(item) for key, item in value.items()}
        case list():
            return [_typed(item) for item in value]
        case _:
            return value
