"""GenAI's vision-language pipeline over an exported folder, for the loop of a vision model's process.

Prompts come rendered and with tags where images stand, so the pipeline's own chat template is one that adds nothing.
Source: openvino.genai 2026.4, src/cpp/src/visual_language/pipeline.cpp and inputs_embedder.cpp.
"""

import hashlib
import logging
import warnings
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import openvino as ov
import openvino_genai as genai
from numpy.typing import NDArray

from lowcloud.core.errors import ModelUnusable
from lowcloud.engines.local.frames import Ready, Submit
from lowcloud.engines.local.ir_model import kv_precision, runtime_config
from lowcloud.engines.local.spec import WorkerSpec
from lowcloud.engines.local.tokenizer import load_text_assets
from lowcloud.engines.local.vision_loop import RefusedError

log = logging.getLogger(__name__)

# With a template the pipeline encodes a prompt as it is; without one it puts a BOS before it.
_AS_IT_IS = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
_MOST_MIN_P = 0.999999  # 1 is none of its values


class GenaiPipeline:
    """``Pipeline`` of one model. ``context_length`` in tokens, those of images included."""

    def __init__(self, folder: Path, properties: dict[str, str], context_length: int) -> None:
        self._pipeline = genai.VLMPipeline(folder, "CPU", ATTENTION_BACKEND="SDPA", **properties)
        self._pipeline.set_chat_template(_AS_IT_IS)
        self._context_length = context_length

    def generate(self, request: Submit, images: Sequence[NDArray[np.uint8]], write: Callable[[int], bool]) -> int:
        """As the protocol has it. Raises RuntimeError where the pipeline can't be used any more."""
        streamer = _Streamer(write)
        try:
            results = self._pipeline.generate(
                request.text,
                images=[ov.Tensor(image) for image in images],
                generation_config=self._config(request),
                streamer=streamer,
            )
        except RuntimeError as error:
            self._recover()
            raise self._refusal(error) from error
        if streamer.error is not None:
            raise streamer.error
        prompt_tokens: int = results.perf_metrics.get_num_input_tokens()
        return prompt_tokens

    def _config(self, request: Submit) -> genai.GenerationConfig:
        """The context bounds prompt and answer together; ``max_tokens`` is counted by who gets the tokens."""
        config = genai.GenerationConfig()
        config.max_length = self._context_length
        config.stop_token_ids = set(request.stop_ids)
        config.ignore_eos = not request.stop_ids
        if request.stop_ids:
            config.eos_token_id = request.stop_ids[0]  # else the model's own ends an answer too
        config.repetition_penalty = request.repetition_penalty
        config.presence_penalty = request.presence_penalty
        config.frequency_penalty = request.frequency_penalty
        config.do_sample = request.temperature > 0
        if config.do_sample:
            config.temperature, config.top_p = request.temperature, request.top_p
            config.min_p = min(request.min_p, _MOST_MIN_P)
            config.rng_seed = _seed(request)
            if request.top_k:
                config.top_k = request.top_k
        return config

    def _recover(self) -> None:
        """What failed leaves its prompt in the pipeline's history. Nothing else clears that, and it is deprecated."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            self._pipeline.finish_chat()

    def _refusal(self, error: RuntimeError) -> RefusedError:
        """Its messages name files of its build, so callers get none of them."""
        says = str(error)
        if "max_length" in says:
            limit = f"the context is {self._context_length} tokens, those of images included"
            return RefusedError("too_long", limit)
        if "native" in says and "tags" in says:
            return RefusedError("bad_prompt", "a text holds what stands for an image in this model's prompts")
        log.error("the pipeline failed", exc_info=error)
        return RefusedError("failed", "the pipeline can't take it; the log says more")


class _Streamer(genai.StreamerBase):  # type: ignore[misc]
    """Gives each token to ``write``. What that raises is kept: leaving a callback, it would end the process."""

    def __init__(self, write: Callable[[int], bool]) -> None:
        super().__init__()
        self._write = write
        self.error: Exception | None = None

    def write(self, token: int | list[int]) -> genai.StreamingStatus:
        tokens = token if isinstance(token, list) else [token]
        try:
            goes_on = all(self._write(each) for each in tokens)
        except Exception as error:  # the outermost place of a callback
            self.error, goes_on = error, False
        return genai.StreamingStatus.RUNNING if goes_on else genai.StreamingStatus.STOP

    def end(self) -> None:
        """Nothing is held back."""


def load(spec: WorkerSpec) -> tuple[GenaiPipeline, Ready]:
    """The model, and what the server is told of it. Blocking: seconds. Raises ModelUnusable, RuntimeError."""
    folder = Path(spec.source)
    assets = load_text_assets(folder)
    context_length = min(assets.context_length, spec.context_length or assets.context_length)
    if not (folder / "openvino_tokenizer.xml").is_file():
        raise ModelUnusable(f"{folder.name} holds no openvino_tokenizer.xml; the export writes it.")
    properties = runtime_config(spec, kv_precision(spec, ov.Core()))
    pipeline = GenaiPipeline(folder, properties, context_length)
    weights = f"{assets.weights}-genai{version('openvino-genai')}"
    note = "vision-language, one sequence at a time"
    return pipeline, Ready(weights, False, assets.tokenizer.n_vocab, context_length, 0, note)


def _seed(request: Submit) -> int:
    """Of (seed, choice), in the generator's 64 bits, of which it may use half."""
    digest = hashlib.sha256(f"{request.seed}:{request.choice}".encode()).digest()
    return int.from_bytes(digest[:8], "little")
