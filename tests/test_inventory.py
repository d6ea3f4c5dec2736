"""Remote models of the settings: their cards and upstreams, and where their tokens come from."""

import pytest

from lowcloud.inventory import models_here, remote_models, spec_of
from lowcloud.models.card import Task
from lowcloud.settings import Settings, SettingsError

LLAMA = "@cf/meta/llama-3.1-8b-instruct"


def test_the_worker_of_a_model_that_sees_is_one_for_such_models(tmp_path):
    (tmp_path / "config.json").write_text('{"max_position_embeddings": 512}')
    for part in ("language", "text_embeddings", "vision_embeddings"):
        (tmp_path / f"openvino_{part}_model.xml").write_text("<net/>")
    own = {"@local/m": {"path": str(tmp_path), "context_length": 256}}
    settings = Settings.model_validate({"models": own, "local": {"cache_dir": str(tmp_path / "cache")}})
    model = next(model for model in models_here(settings).models if model.id == "@local/m")
    spec = spec_of(settings, model)
    assert (spec.kind, spec.source, spec.context_length) == ("vision", str(tmp_path), 256)


def test_a_dialect_that_is_none_is_refused_with_those_that_are(tmp_path):
    own = {"@local/m": {"path": str(tmp_path), "dialect": "herms"}}
    settings = Settings.model_validate({"models": own, "local": {"cache_dir": str(tmp_path)}})
    with pytest.raises(
        SettingsError, match=r'^models\."@local/m"\.dialect: there is no herms; there are .*hermes, .*generic$'
    ):
        models_here(settings)


def models(model_id: str = "@remote/m", environ: dict[str, str] | None = None, **table: object):
    settings = Settings.model_validate({"models": {model_id: {"upstream": "http://127.0.0.1:8081/v1/"} | table}})
    return remote_models(settings, environ or {})


def test_a_model_with_an_upstream_is_remote_and_its_context_is_unknown():
    (model,) = models()
    assert (model.id, model.kind, model.card.task, model.card.owned_by) == (
        "@remote/m",
        "text",
        Task.TEXT_GENERATION,
        "remote",
    )
    assert model.card.context_window is None
    assert (model.upstream.url, model.upstream.model, model.upstream.token) == (
        "http://127.0.0.1:8081/v1",
        "@remote/m",
        None,
    )


def test_its_card_has_what_the_settings_say():
    (model,) = models(kind="embedding", dimensions=768, matryoshka=(256,), context_length=512, description="small")
    card = model.card
    assert (card.task, card.dimensions, card.matryoshka, card.max_input_tokens, card.description) == (
        Task.TEXT_EMBEDDINGS,
        768,
        (256,),
        512,
        "small",
    )


def test_a_reranker_has_a_limit_for_a_query_and_a_document_together():
    (model,) = models(kind="rerank", context_length=512)
    assert (model.kind, model.card.task, model.card.max_input_tokens) == ("rerank", Task.RERANK, 512)


def test_under_a_real_id_the_features_are_the_catalogues_and_the_sizes_arent():
    (model,) = models(LLAMA, defaults={"temperature": 0.5})
    assert (model.card.owned_by, model.card.context_window, model.card.defaults.temperature) == ("meta", None, 0.5)


@pytest.mark.parametrize(
    ("table", "environ"),
    [({"upstream_token": "sk-1"}, {}), ({"upstream_token_env": "TOKEN"}, {"TOKEN": "sk-1"})],
)
def test_a_token_is_in_the_settings_or_in_a_variable_that_they_name(table, environ):
    (model,) = models(environ=environ, **table)
    assert model.upstream.token == "sk-1"
    assert model.upstream.headers()["Authorization"] == "Bearer sk-1"
    assert "sk-1" not in repr(model)


@pytest.mark.parametrize(
    ("table", "environ", "complaint"),
    [
        (
            {"upstream_token_env": "TOKEN"},
            {},
            'models."@remote/m".upstream_token_env: there is no environment variable',
        ),
        ({"upstream_token": "a\nb"}, {}, 'models."@remote/m".upstream_token: must be printable ASCII'),
        ({"upstream_token_env": "T"}, {"T": "sk é"}, 'models."@remote/m".upstream_token_env: must be printable ASCII'),
    ],
)
def test_a_token_that_isnt_there_or_cant_be_one_is_refused_without_being_shown(table, environ, complaint):
    with pytest.raises(SettingsError) as caught:
        models(environ=environ, **table)
    assert str(caught.value).startswith(complaint)
    assert "sk" not in str(caught.value)
