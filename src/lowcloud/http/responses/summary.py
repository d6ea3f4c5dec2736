"""A conversation as one text, and what a model is asked to make its summary. Pure.

The model gets the text in one message, whatever was in it: so it can be cut anywhere, its images and tools need a model
of no kind, and no template refuses its turns.
"""

from collections.abc import Iterator, Sequence

from lowcloud.core.messages import Effort, Message, Messages
from lowcloud.core.requests import Generate

MAX_TOKENS = 512
CHARS_A_TOKEN = 8  # more than texts have
MOST_PARTS = 8
LEAST_CHARS = 64  # a part that is shorter and too long still is no fault of the conversation
FRAME = "Summary of the conversation so far:\n\n"
_RULES = """\
You summarise conversations between a user and an assistant, so that the assistant can go on with only your summary.
Keep what was asked, what was decided and found, names, numbers, paths and code that still matter, rules that still
hold, and what is left to do. Leave out greetings and repetition. Never answer the conversation itself."""


def transcript(messages: Sequence[Message]) -> str:
    """All that was said, called and found, in order; reasoning and the images themselves are left out."""
    return "\n\n".join(line for message in messages for line in _lines(message))


def newest(text: str, part_chars: int) -> str:
    """What is summarised where parts have so many characters: at most ``MOST_PARTS``, the last ones."""
    return text[-MOST_PARTS * part_chars :]


def asked(request_id: str, part: str, before: str, max_tokens: int, effort: Effort | None) -> Generate:
    """The request for the summary of a part; ``before`` is that of the parts before it."""
    known = f"The summary of what came before:\n\n{before}\n\n" if before else ""
    question = f"{known}The conversation:\n\n{part}\n\nWrite the summary of all of it."
    messages = (Message("system", _RULES), Message("user", question))
    return Generate(request_id, Messages(messages, effort=effort), max_tokens=max_tokens)


def bound(context_window: int | None) -> int:
    """How many tokens a summary may have, by the window of the model that makes it."""
    return MAX_TOKENS if context_window is None else max(1, min(MAX_TOKENS, context_window // 4))


def first_guess(text: str, context_window: int | None) -> int:
    """How many characters the first part may have: never fewer than fit."""
    return len(text) if context_window is None else min(len(text), context_window * CHARS_A_TOKEN)


def _lines(message: Message) -> Iterator[str]:
    said = message.text + " [image]" * len(message.images)
    if said:
        name = f" {message.name}" if message.name else ""
        yield f"{message.role}{name}: {said}"
    for call in message.calls:
        yield f"assistant calls {call.name}: {call.arguments}"
