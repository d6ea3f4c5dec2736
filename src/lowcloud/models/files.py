"""What a model's files say about it, read without loading weights: kind, context length, dimensions.

Blocking; reads a few kilobytes. Errors name no path: they may be shown to anyone.
"""

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, TypeAlias

Kind: TypeAlias = Literal["text", "embedding"]
GGUF_MAGIC = b"GGUF"
MAX_JSON_BYTES = 16 * 2**20
MAX_STRING_BYTES = 2**20
# What optimum-intel makes of a vision-language model.
_SEEING_PARTS = ("language", "text_embeddings", "vision_embeddings")
_STRING, _ARRAY = 8, 9
# GGUF's scalar types: uint8, int8, uint16, int16, uint32, int32, float32, bool, then uint64, int64, float64.
_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}


class NotAModelError(ValueError):
    """The files are none of the forms that can be loaded, or are broken."""


@dataclass(frozen=True, slots=True)
class Facts:
    """``context_window`` and ``max_input_tokens`` in tokens; None: the files don't say. ``sees``: it takes images."""

    kind: Kind
    context_window: int | None = None
    max_input_tokens: int | None = None
    dimensions: int | None = None
    sees: bool = False


def facts_of(source: Path) -> Facts:
    """What ``source`` is: a GGUF file, an OpenVINO IR folder, of a model that sees perhaps, or an encoder's folder.

    Raises NotAModelError.
    """
    if source.is_file():
        return Facts("text", context_window=_gguf_context(source))
    if (source / "openvino_model.xml").is_file():
        return Facts("text", context_window=folder_context(source))
    if all((source / f"openvino_{part}_model.xml").is_file() for part in _SEEING_PARTS):
        return Facts("text", context_window=folder_context(source), sees=True)
    if (source / "model.safetensors").is_file() and (source / "config.json").is_file():
        config = _json(source / "config.json")
        limit = input_limit(
            _number(config, "max_position_embeddings"),
            _number(_json(source / "sentence_bert_config.json"), "max_seq_length"),
            _number(_json(source / "tokenizer_config.json"), "model_max_length"),
        )
        return Facts("embedding", max_input_tokens=limit, dimensions=_number(config, "hidden_size"))
    raise NotAModelError(
        "neither a GGUF file, nor an OpenVINO folder (openvino_model.xml, or openvino_language_model.xml, "
        "openvino_text_embeddings_model.xml and openvino_vision_embeddings_model.xml), nor an encoder's folder "
        "(model.safetensors and config.json)"
    )


def folder_context(folder: Path) -> int | None:
    """The context length of an OpenVINO folder: what our converter noted, else its config.json's, which may be nested.

    Raises NotAModelError for JSON that is none.
    """
    if noted := _number(_json(folder / "lowcloud.json"), "context_length"):
        return noted
    config = _json(folder / "config.json")
    nested = config.get("text_config")
    return _number(nested if isinstance(nested, dict) and nested else config, "max_position_embeddings")


def input_limit(places: int | None, max_seq_length: int | None, model_max_length: float | None) -> int | None:
    """An encoder's longest input, by its config's max_position_embeddings and the two files that may say less.

    Tokenizers without a limit say so by a number near 1e30. Source: sentence-transformers 6.2, ``Transformer``.
    """
    limits = [limit for limit in (places, max_seq_length or model_max_length) if limit]
    return int(min(limits)) if limits else None


def _json(path: Path) -> dict[str, object]:
    """The object in a JSON file; empty when there is no such file."""
    if not path.is_file():
        return {}
    try:
        with path.open("rb") as file:
            value = json.loads(file.read(MAX_JSON_BYTES))
    except ValueError as error:
        raise NotAModelError(f"{path.name} is not JSON") from error
    return value if isinstance(value, dict) else {}


def _number(config: dict[str, object], key: str) -> int | None:
    value = config.get(key)
    return int(value) if isinstance(value, int | float) and 0 < value < float("inf") else None


def _gguf_context(source: Path) -> int | None:
    """The value of ``<architecture>.context_length``, which writers put before the long tokenizer arrays.

    Source: ggml docs, gguf.md, version 2 and 3.
    """
    with source.open("rb") as file:
        if file.read(4) != GGUF_MAGIC:
            raise NotAModelError("a file that isn't GGUF")
        try:
            _version, _tensors, entries = struct.unpack("<IQQ", file.read(20))
            for _ in range(min(entries, 2**16)):
                key, value = _string(file), _value(file)
                if key.endswith(".context_length"):
                    return value if isinstance(value, int) and value > 0 else None
        except (struct.error, UnicodeDecodeError) as error:
            raise NotAModelError("a GGUF file with a broken header") from error
    return None


def _value(file: BinaryIO) -> int | float | str | None:
    """The next typed value; None for an array, which is skipped."""
    (kind,) = struct.unpack("<I", file.read(4))
    if kind == _ARRAY:
        _skip_array(file)
        return None
    return _string(file) if kind == _STRING else _scalar(file, kind)


def _skip_array(file: BinaryIO) -> None:
    kind, count = struct.unpack("<IQ", file.read(12))
    if kind == _STRING:
        for _ in range(count):
            _string(file)
    elif kind in _SCALARS:
        file.seek(struct.calcsize(_SCALARS[kind]) * count, 1)
    else:
        raise struct.error(f"array of type {kind}")


def _scalar(file: BinaryIO, kind: int) -> int | float:
    form = _SCALARS.get(kind)
    if form is None:
        raise struct.error(f"type {kind}")
    number: int | float = struct.unpack(form, file.read(struct.calcsize(form)))[0]
    return number


def _string(file: BinaryIO) -> str:
    (size,) = struct.unpack("<Q", file.read(8))
    if size > MAX_STRING_BYTES:
        raise struct.error(f"string of {size} bytes")
    data = file.read(size)
    if len(data) < size:
        raise struct.error("end of file")
    return data.decode()
