"""The text engine of one local model that sees: GenAI's pipeline answers, in the model's process.

The pipeline takes a prompt as a text with images and encodes it by itself; tokens come back, and everything above them
is as for other models.
"""

from dataclasses import replace
from functools import partial

from lowcloud.core.errors import BadRequest
from lowcloud.core.messages import Messages, Text
from lowcloud.core.requests import Generate
from lowcloud.engines.engine import Prepared
from lowcloud.engines.local.bounds import refuse_images
from lowcloud.engines.local.defaults import param_of, sampling_of
from lowcloud.engines.local.engine import LocalEngine
from lowcloud.engines.local.vision_bounds import check_tags, check_vision, loosened, tagged
from lowcloud.text.control import Encoded

IMAGE_TOKENS = 576  # what an image is reckoned as until the model has read it: LLaVA's 24 x 24


class VisionEngine(LocalEngine):
    """``Engine`` of one model that sees. Its process runs one sequence at a time."""

    def check(self, request: Generate) -> None:
        if isinstance(request.prompt, Messages):
            self._required_chat(request.prompt)
        check_vision(request, self.card.id)

    async def prepare(self, request: Generate) -> Prepared:
        """The prompt's tokens are an estimate: only the pipeline knows how many an image has."""
        encoded, images, is_thinking = await self._in_thread(partial(self._worded, request))
        length = self._length(request, len(encoded.ids))
        sampling = sampling_of(request.sampling, self.card.defaults, self._around.draw_seed())
        return Prepared(
            request=replace(request, sampling=sampling),
            prompt_ids=None,
            prompt_tokens=len(encoded.ids) + IMAGE_TOKENS * len(images),
            max_tokens=length.max_tokens,
            default_max_tokens=length.max_tokens if length.by_default else None,
            loosened=loosened(request),
            unread=self._unread(request),
            is_thinking=is_thinking,
            prompt_text=encoded.text,
            images=images,
        )

    def _fitted(self, prepared: Prepared) -> Prepared:
        """The pipeline holds the answer to the context, as it alone knows what the prompt takes of that."""
        return prepared

    def _refuse_images(self, prompt: Messages) -> None:
        """Of what shows or counts a prompt."""
        refuse_images(prompt, "the tokens of images aren't known before the model has read them")

    def _worded(self, request: Generate) -> tuple[Encoded, tuple[bytes, ...], bool]:
        """The prompt, its images, and whether it has opened the reasoning. Blocking. Raises BadRequest."""
        match request.prompt:
            case Messages() as conversation:
                told, images = tagged(conversation)
                encoded = self._rendered(told, self._check_characters)
                check_tags(encoded.text, len(images))
                is_thinking = self._required_chat(conversation).dialect.is_thinking(encoded.text)
            case Text(text=text):
                self._check_characters(request.prompt, text)
                encoded, images, is_thinking = Encoded(text, self._encoder.encode_text(text)), (), False
                check_tags(text, 0)
            case _:
                raise TypeError("a prompt of tokens has passed the check")
        # The pipeline encodes the text with control tokens on: a caller's must come to none.
        if self._vocabulary.tokenizer.encode(encoded.text, specials=True) != encoded.ids:
            param = param_of(request.prompt)
            what = "a text holds a control token of the model's, which can't be told from a real one there"
            raise BadRequest(f"{self.card.id} can't take this prompt: {what}.", param=param)
        return encoded, images, is_thinking
