"""The models that answer: those on this machine, bundled and configured, with what their workers are started with; and
the remote ones, with their upstreams."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from lowcloud.engines.local.spec import WorkerSpec
from lowcloud.engines.remote.upstream import Upstream
from lowcloud.models.card import Card, Defaults
from lowcloud.models.catalogue import packaged_cards
from lowcloud.models.store import TASKS, AnyKind, Found, LocalModel, Wanted, bundled, configured
from lowcloud.settings import Model, Settings, SettingsError
from lowcloud.text.dialects.registry import NAMES


@dataclass(frozen=True, slots=True)
class RemoteModel:
    """A model that an upstream serves."""

    kind: AnyKind
    card: Card
    upstream: Upstream

    @property
    def id(self) -> str:
        return self.card.id


def models_here(settings: Settings) -> Found:
    """Bundled and configured models, and a line for each bundled one that can't be used.

    Blocking. Raises SettingsError for a configured one whose files can't be a model, or whose dialect isn't known.
    """
    for model_id, model in settings.models.items():
        if model.dialect and model.dialect not in NAMES:
            raise SettingsError(
                f'models."{model_id}".dialect: there is no {model.dialect[:64]}; there are {", ".join(NAMES)}'
            )
    cards = packaged_cards()
    found = bundled(cards, settings.local.cache_dir)
    try:
        own = [configured(wanted, cards) for wanted in _wanted(settings)]
    except ValueError as error:
        raise SettingsError(str(error)) from error
    ids = set(settings.models)
    return Found((*own, *(model for model in found.models if model.id not in ids)), found.problems)


def remote_models(settings: Settings, environ: Mapping[str, str] = os.environ) -> tuple[RemoteModel, ...]:
    """The configured models that have an upstream. Raises SettingsError for a token that isn't there or can't be one.

    A card's sizes are those of the configuration: what the catalogue advertises is another deployment's.
    """
    known = {card.id: card for card in packaged_cards()}
    return tuple(
        RemoteModel(model.kind, _remote_card(model_id, model, known.get(model_id)), _upstream(model_id, model, environ))
        for model_id, model in settings.models.items()
        if model.upstream is not None
    )


def spec_of(settings: Settings, model: LocalModel) -> WorkerSpec:
    """What the worker of ``model`` is started with."""
    local = settings.local_for(model.id).model_dump(mode="json")
    own = settings.models.get(model.id)
    kind = "vision" if model.card.vision else model.kind
    return WorkerSpec(kind, str(model.source), context_length=own.context_length if own else 0, **local)


def _wanted(settings: Settings) -> list[Wanted]:
    return [
        Wanted(
            model_id,
            model.path,
            model.kind,
            model.description,
            model.context_length,
            model.dimensions,
            model.matryoshka,
            Defaults(**model.defaults.model_dump()),
        )
        for model_id, model in settings.models.items()
        if model.path is not None
    ]


def _remote_card(model_id: str, model: Model, known: Card | None) -> Card:
    base = known or Card(id=model_id, task=TASKS[model.kind], owned_by="remote")
    described = base.model_dump() | {
        "task": TASKS[model.kind],
        "description": model.description or base.description,
        "context_window": model.context_length or None,
        "max_input_tokens": None if model.kind == "text" else model.context_length or None,
        "dimensions": model.dimensions,
        "matryoshka": model.matryoshka,
        "defaults": model.defaults.model_dump(),
    }
    return Card.model_validate(described)


def _upstream(model_id: str, model: Model, environ: Mapping[str, str]) -> Upstream:
    return Upstream(
        id=model_id,
        url=model.upstream or "",
        model=model.upstream_model or model_id,
        token=_token(model_id, model, environ),
        connect_s=model.upstream_connect_s,
        first_byte_s=model.upstream_first_byte_s,
        between_bytes_s=model.upstream_between_bytes_s,
        connections=model.upstream_connections,
        length_field=model.upstream_length_field,
        is_guided=model.upstream_guided,
        tooling=model.upstream_tools,
    )


def _token(model_id: str, model: Model, environ: Mapping[str, str]) -> str | None:
    """The token itself stands in no message."""
    key, name = f'models."{model_id}".upstream_token', model.upstream_token_env
    if name and not environ.get(name):
        raise SettingsError(f"{key}_env: there is no environment variable {name}")
    token = environ[name] if name else model.upstream_token.get_secret_value() if model.upstream_token else None
    if token is not None and not (token.isascii() and token.isprintable() and token == token.strip()):
        raise SettingsError(f"{key}{'_env' if name else ''}: must be printable ASCII without spaces around it")
    return token or None
