"""What an encoder's folder says of itself, in the layout of sentence-transformers: sizes, limit, pooling, name.

Reads a few kilobytes of JSON and no weights; needs no OpenVINO. What isn't served is refused by name.
Source: sentence-transformers 6.2, ``SentenceTransformer.load`` and ``modules``, read 2026-11.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from lowcloud.core.errors import ModelUnusable
from lowcloud.core.requests import Pooling
from lowcloud.models.files import input_limit

WEIGHTS_FILE = "model.safetensors"
TOKENIZER_FILE = "tokenizer.json"
_MAX_JSON_BYTES = 2**24
_SERVED_MODULES = frozenset({"Transformer", "Pooling", "Normalize"})
_HEADING = re.compile(r"^# +([\w.-]+) *$", re.MULTILINE)

Activation = Literal["gelu", "gelu_new", "gelu_pytorch_tanh", "relu"]
M = TypeVar("M")


class BertConfig(BaseModel):
    """config.json of a BertModel, under its own names."""

    model_type: Literal["bert"]
    hidden_size: int = Field(ge=1)
    num_hidden_layers: int = Field(ge=1)
    num_attention_heads: int = Field(ge=1)
    vocab_size: int = Field(ge=1)
    max_position_embeddings: int = Field(ge=1)
    layer_norm_eps: float = Field(1e-12, gt=0)
    hidden_act: Activation = "gelu"
    position_embedding_type: Literal["absolute"] | None = "absolute"
    is_decoder: Literal[False] = False


class _Module(BaseModel):
    path: str
    type: str


class _PoolingConfig(BaseModel):
    """1_Pooling/config.json: the modes as booleans, in newer files as one word."""

    pooling_mode: str | None = None
    pooling_mode_cls_token: bool = False
    pooling_mode_mean_tokens: bool = False
    pooling_mode_max_tokens: bool = False
    pooling_mode_mean_sqrt_len_tokens: bool = False
    pooling_mode_weightedmean_tokens: bool = False
    pooling_mode_lasttoken: bool = False

    def modes(self) -> tuple[str, ...]:
        """The names of the modes that are on: more than one means vectors side by side."""
        if self.pooling_mode is not None:
            return (self.pooling_mode,)
        flags = self.model_dump(exclude={"pooling_mode"})
        names = {name: name.removeprefix("pooling_mode_").removesuffix("_tokens") for name in flags}
        return tuple(names[name].removesuffix("_token") for name, is_on in flags.items() if is_on)


class _Limits(BaseModel):
    max_seq_length: int | None = Field(None, ge=1)
    do_lower_case: bool = False


class _TokenizerLimits(BaseModel):
    # Tokenizers without a limit say so by a number near 1e30, which may be written as a float.
    model_max_length: float | None = Field(None, ge=1)


class _Prompts(BaseModel):
    default_prompt_name: str | None = None


@dataclass(frozen=True, slots=True)
class EncoderFolder:
    """``weights`` is a short name without the precision; ``max_input_tokens`` includes the special tokens.

    ``lower_case``: the text is lowered before it is tokenised, beside what the tokenizer itself does.
    """

    path: Path
    weights: str
    dimensions: int
    max_input_tokens: int
    pooling: Pooling
    lower_case: bool
    bert: BertConfig


def describe(folder: Path) -> EncoderFolder:
    """Read the folder's JSON files. Blocking. Raises ModelUnusable that names what is missing or isn't served."""
    if not (folder / WEIGHTS_FILE).is_file():
        raise ModelUnusable(f"The encoder's folder has no {WEIGHTS_FILE}.")
    bert = _required(folder / "config.json", BertConfig)
    if bert.hidden_size % bert.num_attention_heads:
        raise ModelUnusable("config.json: num_attention_heads doesn't divide hidden_size.")
    limits = _read(folder / "sentence_bert_config.json", _Limits) or _Limits()
    tokenizer = _read(folder / "tokenizer_config.json", _TokenizerLimits) or _TokenizerLimits()
    if prompt := (_read(folder / "config_sentence_transformers.json", _Prompts) or _Prompts()).default_prompt_name:
        raise ModelUnusable(f"The encoder puts the prompt {prompt} before every text; that isn't served.")
    limit = input_limit(bert.max_position_embeddings, limits.max_seq_length, tokenizer.model_max_length)
    return EncoderFolder(
        path=folder,
        weights=_name(folder),
        dimensions=bert.hidden_size,
        max_input_tokens=limit or bert.max_position_embeddings,
        pooling=_pooling(folder),
        lower_case=limits.do_lower_case,
        bert=bert,
    )


def _pooling(folder: Path) -> Pooling:
    """The folder's pooling; mean where it names no modules, as sentence-transformers does."""
    modules = _read(folder / "modules.json", list[_Module])
    if modules is None:
        return "mean"
    kinds = {module.type.rpartition(".")[2]: module.path for module in modules}
    for kind in kinds:
        if kind not in _SERVED_MODULES:
            raise ModelUnusable(f"modules.json: the module {kind} isn't served.")
    if "Pooling" not in kinds:
        raise ModelUnusable("modules.json has no Pooling module.")
    match _required(folder / kinds["Pooling"] / "config.json", _PoolingConfig).modes():
        case ("mean",):
            return "mean"
        case ("cls",):
            return "cls"
        case modes:
            raise ModelUnusable(f"Pooling {' and '.join(modes) or 'of no mode'} isn't served; mean and cls are.")


def _name(folder: Path) -> str:
    """The heading of the folder's model card when it is one word, else the folder's own name."""
    try:
        with (folder / "README.md").open("rb") as file:
            heading = _HEADING.search(file.read(2**16).decode("utf-8", "replace"))
    except OSError:
        heading = None
    return heading[1] if heading else folder.name


def _required(path: Path, model: type[M]) -> M:
    value = _read(path, model)
    if value is None:
        raise ModelUnusable(f"The encoder's folder has no {path.name}.")
    return value


def _read(path: Path, model: type[M]) -> M | None:
    """The file's content, None when there is no file. Raises ModelUnusable naming the first wrong key."""
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_JSON_BYTES)
    except FileNotFoundError:
        return None
    try:
        return TypeAdapter(model).validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ModelUnusable(f"{path.name}{': ' + where if where else ''}: {first['msg']}.") from None
