"""Fill-in-the-middle: the control tokens that tell a model of a text before and a text after."""

from collections.abc import Mapping

from lowcloud.core.errors import Unsupported

# Before the prefix, before the suffix, before the middle. Source: the tokenizers of Qwen2.5-Coder and Granite,
# StarCoder, DeepSeek-Coder, CodeGemma.
_STYLES = (
    ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
    ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    ("<fim-prefix>", "<fim-suffix>", "<fim-middle>"),
    ("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),
)


class Infill:
    """One vocabulary's tokens for it, if it has them. ``token_ids``: the control tokens by their texts."""

    def __init__(self, token_ids: Mapping[str, int]) -> None:
        known = next((style for style in _STYLES if all(mark in token_ids for mark in style)), None)
        self._tokens = None if known is None else tuple([token_ids[mark]] for mark in known)

    def around(self, suffix: str | None) -> tuple[list[int], ...]:
        """The tokens before the text, between it and its suffix, and after that; none without a suffix.

        Raises Unsupported for a model that can't fill in.
        """
        if suffix is None:
            return [], [], []
        if self._tokens is None:
            raise Unsupported("suffix: this model can't fill in the middle.", param="suffix")
        return self._tokens
