"""Everything about a model that isn't weights: tokenizer, chat template, context length, end tokens.

Read from a GGUF file's metadata, or from the small JSON files of an OpenVINO IR folder; needs no OpenVINO.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from lowcloud.core.errors import ModelUnusable
from lowcloud.engines.local.gguf_file import GgufFile, read_gguf
from lowcloud.engines.local.gguf_tokenizer import gguf_tokenizer, sidecar_name, special_token, stop_tokens
from lowcloud.engines.local.vocabulary import Detokenizer, Tokenizer, read_tokenizer

__all__ = ["Detokenizer", "TextAssets", "Tokenizer", "load_text_assets"]

OWN_FILE = "lowcloud.json"
TEMPLATE_FILE = "chat_template.jinja"
TOOL_TEMPLATE_FILE = "additional_chat_templates/tool_use.jinja"
TOKENIZER_FILE = "tokenizer.json"


@dataclass(frozen=True, slots=True)
class TextAssets:
    """``context_length`` in tokens; ``stop_ids`` end an answer; ``weights`` is a short name, quantisation included.

    ``tool_template`` is the chat template for conversations with tools, of a model that has another one for those.
    """

    tokenizer: Tokenizer
    chat_template: str | None
    context_length: int
    stop_ids: tuple[int, ...]
    bos_token: str
    eos_token: str
    weights: str
    tool_template: str | None = None


class OwnFile(BaseModel):
    """lowcloud.json: what the converter knew of the GGUF file that an IR folder was made from."""

    context_length: int
    stop_ids: tuple[int, ...]
    weights: str
    bos_token: str
    eos_token: str


class _Token(BaseModel):
    content: str


class _NamedTemplate(BaseModel):
    name: str
    template: str


class _ProcessorTemplate(BaseModel):
    chat_template: str | None = None


class _TokenizerConfig(BaseModel):
    chat_template: str | list[_NamedTemplate] | None = None
    bos_token: str | _Token | None = None
    eos_token: str | _Token | None = None


class _TextConfig(BaseModel):
    max_position_embeddings: int | None = None
    eos_token_id: int | list[int] | None = None


class _Config(_TextConfig):
    text_config: _TextConfig | None = None


class _GenerationConfig(BaseModel):
    eos_token_id: int | list[int] | None = None


def load_text_assets(source: Path) -> TextAssets:
    """Read from a GGUF file or an IR folder; blocking. Raises ModelUnusable naming what is missing or not known."""
    if source.is_dir():
        return _of_converted(source) if (source / OWN_FILE).exists() else _of_folder(source)
    return _of_gguf(read_gguf(source))


def _of_gguf(file: GgufFile) -> TextAssets:
    sidecar = file.path.with_name(sidecar_name(file))
    template = file.text("tokenizer.chat_template", "")
    return TextAssets(
        tokenizer=read_tokenizer(sidecar) if sidecar.exists() else Tokenizer(gguf_tokenizer(file)),
        chat_template=template or None,
        context_length=file.integer(f"{file.architecture}.context_length"),
        stop_ids=stop_tokens(file),
        bos_token=special_token(file, "bos"),
        eos_token=special_token(file, "eos"),
        weights=f"{file.path.stem}-int8",
        tool_template=file.text("tokenizer.chat_template.tool_use", "") or None,
    )


def _of_converted(folder: Path) -> TextAssets:
    own = _read(folder / OWN_FILE, OwnFile)
    return TextAssets(
        tokenizer=read_tokenizer(folder / TOKENIZER_FILE),
        chat_template=_text(folder / TEMPLATE_FILE),
        context_length=own.context_length,
        stop_ids=own.stop_ids,
        bos_token=own.bos_token,
        eos_token=own.eos_token,
        weights=own.weights,
        tool_template=_text(folder / TOOL_TEMPLATE_FILE),
    )


def _of_folder(folder: Path) -> TextAssets:
    config = _read(folder / "config.json", _Config)
    text = config.text_config or config
    if text.max_position_embeddings is None:
        raise ModelUnusable(f"{folder.name}: config.json has no max_position_embeddings.")
    names = _read_if(folder / "tokenizer_config.json", _TokenizerConfig)
    tokenizer = read_tokenizer(folder / TOKENIZER_FILE)
    template, tool_template = _templates(folder, names)
    eos = _content(names.eos_token)
    generation = _read_if(folder / "generation_config.json", _GenerationConfig)
    stops = {*_as_list(generation.eos_token_id or text.eos_token_id)}
    if (number := tokenizer.token_id(eos)) is not None:
        stops.add(number)
    return TextAssets(
        tokenizer=tokenizer,
        chat_template=template,
        context_length=text.max_position_embeddings,
        stop_ids=tuple(sorted(stops)),
        bos_token=_content(names.bos_token),
        eos_token=eos,
        weights=folder.name,
        tool_template=tool_template,
    )


def _templates(folder: Path, names: _TokenizerConfig) -> tuple[str | None, str | None]:
    """The chat template, and the one for conversations with tools: of files of their own; of a model that sees, whose
    images and texts go through a processor, of the processor's; else of the tokenizer's.

    Source: transformers 5.24, tokenization_utils_base.py, from_pretrained and get_chat_template.
    """
    own, own_for_tools = _text(folder / TEMPLATE_FILE), _text(folder / TOOL_TEMPLATE_FILE)
    if own or own_for_tools:
        return own or None, own_for_tools or None
    processors = _read_if(folder / "chat_template.json", _ProcessorTemplate).chat_template
    if processors:
        return processors, None
    if not isinstance(names.chat_template, list):
        return names.chat_template, None
    named = {each.name: each.template for each in names.chat_template}
    return named.get("default"), named.get("tool_use")


def _content(token: str | _Token | None) -> str:
    return token.content if isinstance(token, _Token) else token or ""


def _as_list(ids: int | list[int] | None) -> list[int]:
    if ids is None:
        return []
    return [ids] if isinstance(ids, int) else ids


def _text(path: Path) -> str | None:
    return path.read_text("utf-8") if path.exists() else None


ModelT = TypeVar("ModelT", bound=BaseModel)


def _read(path: Path, kind: type[ModelT]) -> ModelT:
    try:
        return kind.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ModelUnusable(f"{path.parent.name}: {path.name} can't be read: {error.strerror}.") from error
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors(include_url=False)[0]["loc"])
        place = f"{path.name}{': ' + where if where else ''}"
        raise ModelUnusable(f"{path.parent.name}: {place} isn't as expected; the log says more.") from error


def _read_if(path: Path, kind: type[ModelT]) -> ModelT:
    return _read(path, kind) if path.exists() else kind()
