"""Structured logs on standard error: lines for people on a terminal in ``dev``, JSON elsewhere.

Every line of a request carries its id, which the edge binds with ``structlog.contextvars``; what runs for many, such as
a worker, has none. Tokens are cut out of every value; prompts are never logged, and tracebacks show no local variables,
which could hold one.
"""

import json
import logging
import re
import sys
from collections.abc import Mapping
from typing import Literal, TextIO, TypeAlias

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

LogFormat: TypeAlias = Literal["auto", "console", "json"]

_TOKEN = re.compile(r"lowcloud_[A-Za-z0-9_-]{16,}|(?i:bearer)\s+[^\s\"',}]+")
_SECRET_KEYS = frozenset({"authorization", "api_key", "token", "cookie", "set-cookie"})
_HIDDEN = "[hidden]"


def configure(level: str, log_format: LogFormat, *, dev: bool, stream: TextIO = sys.stderr) -> None:
    """Set up structlog, and the standard library's loggers through it, for this process."""
    is_console = log_format == "console" or (log_format == "auto" and dev and stream.isatty())
    number = logging.getLevelNamesMapping()[level.upper()]
    shared = _shared_processors()
    structlog.configure(
        processors=[*shared, *_renderers(is_console, stream)],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )
    _adopt_standard_loggers(number, stream, shared, _renderers(is_console, stream))


def _shared_processors() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.StackInfoRenderer(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        without_secrets,
    ]


def _renderers(is_console: bool, stream: TextIO) -> list[Processor]:
    if not is_console:
        return [structlog.processors.EventRenamer("message"), structlog.processors.JSONRenderer(_to_json)]
    plain = structlog.dev.plain_traceback
    return [structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=plain)]


_ENCODER = json.JSONEncoder(default=repr)  # json.dumps makes one a line


def _to_json(event: EventDict, **_: object) -> str:
    return _ENCODER.encode(event)


def _adopt_standard_loggers(number: int, stream: TextIO, shared: list[Processor], renderers: list[Processor]) -> None:
    """Libraries' loggers write the same lines; theirs below a warning are noise."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
        )
    )
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(max(number, logging.WARNING))


def without_secrets(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """The event with every token in it replaced, however deep it sits."""
    return {key: _HIDDEN if key.lower() in _SECRET_KEYS else _clean(value) for key, value in event.items()}


def _clean(value: object) -> object:
    match value:
        case str():
            # A line has a dozen values, and looking for these takes a tenth of a search.
            may_have_one = "lowcloud_" in value or "earer" in value.lower()
            return _TOKEN.sub(_HIDDEN, value) if may_have_one else value
        case None | int() | float():
            return value
        case bytes():
            return _TOKEN.sub(_HIDDEN, value.decode("utf-8", "replace"))
        case Mapping():
            return {key: _HIDDEN if str(key).lower() in _SECRET_KEYS else _clean(inner) for key, inner in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_clean(inner) for inner in value]
        case _:
            return value
