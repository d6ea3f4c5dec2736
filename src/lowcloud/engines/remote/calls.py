"""The tool calls of one choice, from the many forms of an upstream's deltas. Pure.

Upstreams leave out the index, give 0 for every call, send no id, repeat id and name in each delta, or send the
arguments as an object. What comes out has an id and a name once, and arguments that are JSON of an object.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from lowcloud.core.events import ToolCallDelta


class BadCallError(ValueError):
    """A call that can't be told from another one, or isn't one."""


@dataclass(slots=True)
class _Call:
    """``given_id`` is the upstream's, which may be missing; ``is_named``: its first delta has gone up."""

    number: int
    index: int | None
    given_id: str
    is_custom: bool
    name: str = ""
    arguments: str = ""
    waiting: str = ""
    is_named: bool = False
    is_closed: bool = False


class CallReader:
    """Reads the calls of ``choice``. ``new_id`` gives an id where the upstream gives none, or one that is taken.

    Where ``at_most_one``, further calls are dropped: not every upstream knows ``parallel_tool_calls``.
    """

    def __init__(self, choice: int, new_id: Callable[[], str], *, at_most_one: bool = False) -> None:
        self._choice, self._new_id, self._at_most_one = choice, new_id, at_most_one
        self._calls: list[_Call] = []
        self._ids: set[str] = set()

    @property
    def has_calls(self) -> bool:
        """Whether there was one, even if it was cut."""
        return bool(self._calls)

    def take(self, delta: Mapping[str, object]) -> Iterator[ToolCallDelta]:
        """The deltas that one item of ``tool_calls`` becomes. Raises BadCallError."""
        is_custom = delta.get("type") == "custom" or isinstance(delta.get("custom"), Mapping)
        inner = delta.get("custom" if is_custom else "function")
        body = inner if isinstance(inner, Mapping) else {}
        name, arguments = _text(body.get("name")), _arguments(body.get("input" if is_custom else "arguments"))
        call = self._known(delta, name, arguments)
        if call is None:
            yield from self._close_last()
            index = delta.get("index")
            index = index if isinstance(index, int) else None
            call = _Call(len(self._calls), index, _text(delta.get("id")), is_custom)
            self._calls.append(call)
        if call.is_closed:
            raise BadCallError("mixes its tool calls")
        call.given_id = call.given_id or _text(delta.get("id"))
        yield from self._grown(call, name, arguments)

    def close(self, *, is_cut: bool) -> Iterator[ToolCallDelta]:
        """The choice is finished; ``is_cut``: by its length, so the last call has no end. Raises BadCallError."""
        if not is_cut:
            yield from self._close_last()

    def _known(self, delta: Mapping[str, object], name: str, arguments: str) -> _Call | None:
        """The call that a delta goes on with. None: it begins one."""
        index, given_id = delta.get("index"), _text(delta.get("id"))
        call = self._by_index(index) if isinstance(index, int) else self._by_id(given_id)
        if call is None or not name:
            return call
        if given_id and call.given_id:
            return call if given_id == call.given_id else None
        is_another = call.is_named and (name != call.name or (bool(arguments) and _is_object(call.arguments)))
        return None if is_another else call

    def _by_index(self, index: int) -> _Call | None:
        return next((call for call in reversed(self._calls) if call.index == index), None)

    def _by_id(self, given_id: str) -> _Call | None:
        """Without an index: the call of that id; without an id too, the last one."""
        if not given_id:
            return self._calls[-1] if self._calls else None
        return next((call for call in reversed(self._calls) if call.given_id == given_id), None)

    def _grown(self, call: _Call, name: str, arguments: str) -> Iterator[ToolCallDelta]:
        call.name = call.name or name
        call.arguments += arguments
        if self._is_dropped(call):
            return
        if not call.name:
            call.waiting += arguments
        elif not call.is_named:
            call.is_named = True
            yield ToolCallDelta(self._choice, call.number, call.waiting + arguments, self._id(call), call.name)
        elif arguments:
            yield ToolCallDelta(self._choice, call.number, arguments)

    def _close_last(self) -> Iterator[ToolCallDelta]:
        """A function's call without arguments gets an object of none."""
        if not self._calls or self._calls[-1].is_closed:
            return
        call = self._calls[-1]
        call.is_closed = True
        if self._is_dropped(call):
            return
        if not call.is_named:
            raise BadCallError("calls a tool without saying which")
        rest = "" if call.is_custom or call.arguments.strip() else "{}"
        if not call.is_custom and not _is_object(call.arguments + rest):
            raise BadCallError(f"calls {call.name} with arguments that are no JSON object")
        yield ToolCallDelta(self._choice, call.number, rest, is_complete=True)

    def _is_dropped(self, call: _Call) -> bool:
        return self._at_most_one and call.number > 0

    def _id(self, call: _Call) -> str:
        own = call.given_id
        if not own or own in self._ids:
            own = self._new_id()
        self._ids.add(own)
        return own


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _arguments(value: object) -> str:
    """Some send the object itself instead of its JSON."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, Mapping) else _text(value)


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False
