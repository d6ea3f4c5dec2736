"""What a vision model can do of a request, and how its prompt names the images. Pure."""

import re
from collections.abc import Iterator
from dataclasses import replace

from lowcloud.core.errors import BadRequest, Unsupported
from lowcloud.core.messages import Message, Messages, Text, Tokens
from lowcloud.core.output import ANY_TEXT, AnyText
from lowcloud.core.requests import Generate

# GenAI's names for images by their numbers. Source: its guide, "Use image or video tags in prompt".
_TAG = re.compile(r"<ov_genai_(?:image|video|audio)_\d+>")


def check_vision(request: Generate, model: str) -> None:
    """Refuses by name what GenAI's pipeline has no means for: it gives tokens, and nothing bounds them.

    Raises Unsupported.
    """
    if (param := next(_beyond(request), None)) is not None:
        raise Unsupported(
            f"{param} is not supported by {model}: what answers about images gives text alone, and nothing bounds it.",
            param=param,
        )


def _beyond(request: Generate) -> Iterator[str]:
    """The fields that ask for more than can be done."""
    match request.prompt:
        case Tokens():
            yield "prompt"
        case Text(suffix=str()):
            yield "suffix"
    if request.top_logprobs is not None:
        yield "logprobs"
    if request.sampling.logit_bias:
        yield "logit_bias"
    if request.thinking is not None:
        yield request.thinking.param
    if not isinstance(request.output, AnyText):
        yield request.output.param
    plan = request.tools
    if plan.mode == "required":
        yield "tool_choice"
    if plan.mode != "none" and plan.at_most_one:
        yield "parallel_tool_calls"
    if plan.mode != "none":
        yield from (tool.param for tool in plan.tools if tool.is_strict or tool.input not in (None, ANY_TEXT))


def loosened(request: Generate) -> tuple[str, ...]:
    """The schemas of functions: the model is told of them, and nothing keeps it to them."""
    tools = request.tools.tools if request.tools.mode != "none" else ()
    return tuple(tool.param for tool in tools if tool.parameters is not None)


def tagged(prompt: Messages) -> tuple[Messages, tuple[bytes, ...]]:
    """The conversation with a tag at each image's place, and the images by the tags' numbers."""
    images: list[bytes] = []
    messages = tuple(_tagged(message, images) for message in prompt.messages)
    return replace(prompt, messages=messages), tuple(images)


def _tagged(message: Message, images: list[bytes]) -> Message:
    pieces: list[str] = []
    start = 0
    for image in sorted(message.images, key=lambda each: each.at):
        pieces += [message.text[start : image.at], _tag(len(images))]
        images.append(image.data)
        start = image.at
    return replace(message, text="".join([*pieces, message.text[start:]]), images=())


def check_tags(rendered: str, n_images: int) -> None:
    """Raises BadRequest where a prompt has other tags than those of its images, each once and in order."""
    if _TAG.findall(rendered) != [_tag(number) for number in range(n_images)]:
        raise BadRequest(
            "The model can't take this conversation: a text holds a tag of an image, or the model's chat template "
            "leaves an image out.",
            param="messages",
        )


def _tag(number: int) -> str:
    return f"<ov_genai_image_{number}>"
