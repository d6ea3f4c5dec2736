"""Jinja for programs of others: an immutable sandbox whose loops, calls and values have bounds.

Names and filters are those of Hugging Face's ``apply_chat_template`` (Source: transformers,
utils/chat_template_utils.py, 5.24). Every turn of a loop and every call looks at the time; what multiplies, joins or
pads looks at the size before it does.
"""

import json
from collections.abc import Callable
from datetime import datetime
from functools import wraps
from typing import Any

from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.tests import test_lower, test_upper
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

from lowcloud.text.meter import GROWING, TooLong, check_format, check_growth, check_operation, check_written

TICK = "\0tick"  # the variable whose call raises TooLong when the time is over; no template can write its name
_MAX_INDENT = 100
_WRITING = frozenset({"capitalize", "e", "escape", "forceescape", "lower", "pprint", "safe", "string", "striptags"})
_WRITING |= {"title", "trim", "truncate", "upper", "urlencode", "urlize", "wordcount", "xmlattr"}
_TO_BYTES = frozenset({"encode", "to_bytes"})


class Sandbox(ImmutableSandboxedEnvironment):
    """The environment of chat templates, which are rendered with the variable TICK.

    ``now`` is what ``strftime_now`` writes, ``refuse`` is ``raise_exception``.
    """

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self, now: Callable[[], datetime], refuse: Callable[[str], None]) -> None:
        extensions = [_Generation, _Bounds, loopcontrols]
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=extensions, finalize=_writable)
        self.filters["tojson"] = _to_json
        for name in _WRITING:
            self.filters[name] = _checked(self.filters[name], check_written)
        self.tests |= {"lower": _checked(test_lower, check_written), "upper": _checked(test_upper, check_written)}
        self.filters["sum"] = _checked(self.filters["sum"], _check_sum)
        self.filters["format"] = _checked(self.filters["format"], lambda form, *rest: check_format(str(form), *rest))
        for name in GROWING & self.filters.keys():
            self.filters[name] = _checked(self.filters[name], _growth_check(name))
        self.globals["raise_exception"] = refuse
        self.globals["strftime_now"] = lambda form: now().strftime(form)
        self.globals["dict"] = _Dict()
        self.globals["namespace"] = _Namespace
        del self.globals["lipsum"]  # which makes texts of any length

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        template: nodes.Template = _Bounded().visit(super()._parse(source, name, filename))
        return template

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """There are no bytes: their methods have no bounds."""
        return attr not in _TO_BYTES and super().is_safe_attribute(obj, attr, value)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        check_operation(operator, left, right)
        return super().call_binop(context, operator, left, right)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805 - as Jinja has it
        __context.parent[TICK]()
        owner, name = getattr(__obj, "__self__", None), getattr(__obj, "__name__", "")
        if isinstance(owner, str) and name in GROWING:
            check_growth(name, owner, [*args, *kwargs.values()])
        return super().call(__context, __obj, *args, **kwargs)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        wrapped = super().wrap_str_format(value)
        if wrapped is None:
            return None

        @wraps(wrapped)
        def checked(*args: Any, **kwargs: Any) -> str:
            check_format(value.__self__, *args, *kwargs.values())
            return wrapped(*args, **kwargs)

        return checked


class _Bounded(NodeTransformer):
    """Puts a look at the clock into every loop, and the joining of ``~`` behind a look at the size."""

    def visit_For(self, node: nodes.For) -> nodes.For:  # noqa: N802 - as Jinja names it
        self.generic_visit(node)
        node.body.insert(0, nodes.ExprStmt(_Bounds.call_to("tick", [], node.lineno), lineno=node.lineno))
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Call:  # noqa: N802 - as Jinja names it
        self.generic_visit(node)
        return _Bounds.call_to("joined", node.nodes, node.lineno)


class _Bounds(Extension):
    """What ``_Bounded`` puts into templates."""

    @classmethod
    def call_to(cls, name: str, arguments: list[nodes.Expr], line: int) -> nodes.Call:
        """A call of one of the methods below."""
        method = nodes.ExtensionAttribute(cls.identifier, name, lineno=line)
        return nodes.Call(method, arguments, [], None, None, lineno=line)

    def tick(self) -> None:
        """Every call has looked at the clock."""

    def joined(self, *values: object) -> str:
        check_written(*values)
        return "".join(map(str, values))


class _Generation(Extension):
    """``{% generation %}`` marks the assistant's words for training; here its body is the body."""

    tags = {"generation"}  # noqa: RUF012 - as Jinja declares it

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Dict:
    """``dict`` without the attributes of the class, by which templates could reach what isn't theirs."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)

    def fromkeys(self, *args: Any) -> dict[Any, Any]:
        return dict.fromkeys(*args)


class _Namespace(Namespace):
    """``namespace``, without names that begin with an underscore."""

    def __init__(*args: Any, **kwargs: Any) -> None:  # ``self`` may be a name of the template's own
        names = dict(*args[1:], **kwargs)
        for name in names:
            _check_name(name)
        Namespace.__init__(args[0], names)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_name(name)
        super().__setitem__(name, value)

    def __repr__(self) -> str:
        return "<Namespace>"  # Jinja writes all that is in it


def _check_name(name: object) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise SecurityError(f"a namespace has no {name}")


def _check_sum(_: object, *options: object) -> None:
    if any(isinstance(option, list | tuple) for option in options):
        raise SecurityError("sum adds numbers only")


def _checked(function: Callable[..., Any], check: Callable[..., None]) -> Callable[..., Any]:
    """A filter that is applied where ``check`` doesn't raise; Jinja may give it a context first."""

    @wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        n_own = 1 if hasattr(function, "jinja_pass_arg") else 0
        check(*args[n_own:], *kwargs.values())
        return function(*args, **kwargs)

    return checked


def _growth_check(name: str) -> Callable[..., None]:
    return lambda value, *arguments: check_growth(name, value, arguments)


def _writable(value: object) -> object:
    """What a template writes, whose text isn't too long."""
    check_written(value)
    return value


def _to_json(
    value: object,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """With json's own options, which templates use. Jinja's filter escapes ``<`` for HTML, which models never saw."""
    check_written(value)
    if indent is not None and (indent if isinstance(indent, int) else len(indent)) > _MAX_INDENT:
        raise TooLong
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
