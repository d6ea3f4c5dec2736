"""How a model is spoken with: its chat templates, each with the dialect that it is written in. Pure but for a clock."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from lowcloud.core.errors import ModelUnusable
from lowcloud.core.messages import Messages
from lowcloud.engines.local.tokenizer import TextAssets
from lowcloud.text.dialects.dialect import Dialect
from lowcloud.text.dialects.generic import calls_in_words
from lowcloud.text.dialects.registry import fallback, named, recognised
from lowcloud.text.template import ChatTemplate
from lowcloud.text.turns import EFFORT_NAMES, Hide


@dataclass(frozen=True, slots=True)
class Chat:
    """One template. ``loses_calls`` says, for conversations with tools and without, whether it leaves out what was
    called before: then that is told in words.
    """

    template: ChatTemplate
    dialect: Dialect
    may_think: bool
    loses_calls: dict[bool, bool]

    def rendered(self, prompt: Messages, hide: Hide) -> str:
        """The prompt. Blocking. Raises BadRequest."""
        told = self.dialect.retold(prompt)
        if self.loses_calls[bool(prompt.tools)]:
            told = calls_in_words(told)
        return self.template.render(told, hide, has_text_arguments=self.dialect.has_text_arguments)

    def unread(self, prompt: Messages) -> list[str]:
        """The caller's fields about thinking and the template's variables that change nothing of the prompt."""
        reads = self.template.reads
        unread = [f"chat_template_kwargs.{name}" for name in prompt.options if name not in reads]
        if prompt.effort is None or not prompt.effort_param or (prompt.effort == "none" and not self.may_think):
            return unread
        told = self.dialect.retold(replace(prompt, messages=(), tools=()))  # it may have a name of its own for it
        names = EFFORT_NAMES | (told.options.keys() - prompt.options.keys())
        return unread if names & reads else [prompt.effort_param, *unread]

    def thinks(self, prompt: Messages) -> bool:
        """Whether the model may think: its template knows of that, and the caller hasn't put it off."""
        return self.may_think and prompt.effort != "none"


@dataclass(frozen=True, slots=True)
class Chats:
    """Those of one model: of some, another one for conversations with tools."""

    plain: Chat | None
    with_tools: Chat | None

    def of(self, prompt: Messages) -> Chat | None:
        """The one for a conversation; None where the model has none."""
        return self.with_tools if prompt.tools and self.with_tools else self.plain


def chats_of(assets: TextAssets, now: Callable[[], datetime], dialect: str = "") -> Chats:
    """``dialect`` is the name of the one that the model speaks; empty: its templates tell.

    Raises ModelUnusable for a template that doesn't compile, and for none that shows tools to a dialect that doesn't
    tell of them in words.
    """
    sources = (assets.chat_template, assets.tool_template)
    spoken = named(dialect) if dialect else None
    if spoken and spoken.takes_tools and not any(source and "tools" in source for source in sources):
        raise ModelUnusable(
            f"The dialect {dialect} needs a chat template that shows tools, and this model has none; "
            '"generic" tells of them in words.'
        )
    plain, with_tools = (
        None if source is None else _chat_of(source, spoken or _dialect_of(source), assets, now) for source in sources
    )
    return Chats(plain, with_tools)


def _chat_of(source: str, dialect: Dialect, assets: TextAssets, now: Callable[[], datetime]) -> Chat:
    template = ChatTemplate(source, bos_token=assets.bos_token, eos_token=assets.eos_token, now=now)
    as_text = dialect.has_text_arguments
    loses = {
        has_tools: not template.shows_calls(dialect.retold, has_text_arguments=as_text, has_tools=has_tools)
        for has_tools in (False, True)
    }
    return Chat(template, dialect, "think" in source, loses)


def _dialect_of(source: str) -> Dialect:
    """The dialect of a chat template; the generic one where the template knows no tools."""
    dialect = recognised(source) or fallback()
    return dialect if "tools" in source or not dialect.takes_tools else fallback()
