"""The models on this machine, bundled and configured, and what their workers are started with."""

from lowcloud.engines.local.spec import WorkerSpec
from lowcloud.models.card import Defaults
from lowcloud.models.catalogue import packaged_cards
from lowcloud.models.store import Found, LocalModel, Wanted, bundled, configured
from lowcloud.settings import Settings, SettingsError


def models_here(settings: Settings) -> Found:
    """Bundled and configured models, and a line for each bundled one that can't be used.

    Blocking. Raises SettingsError for a configured one whose files can't be a model.
    """
    cards = packaged_cards()
    found = bundled(cards, settings.local.cache_dir)
    try:
        own = [configured(wanted, cards) for wanted in _wanted(settings)]
    except ValueError as error:
        raise SettingsError(str(error)) from error
    ids = {model.id for model in own}
    return Found((*own, *(model for model in found.models if model.id not in ids)), found.problems)


def spec_of(settings: Settings, model: LocalModel) -> WorkerSpec:
    """What the worker of ``model`` is started with."""
    local = settings.local_for(model.id).model_dump(mode="json")
    own = settings.models.get(model.id)
    return WorkerSpec(model.kind, str(model.source), context_length=own.context_length if own else 0, **local)


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
    ]
