"""Bundled models are found without running their packages, and checked once; configured ones are what they are."""

import hashlib
import json
import os
import sys
from pathlib import Path

import pytest

from lowcloud.models.card import Defaults, Task
from lowcloud.models.catalogue import EMBEDDING_STAND_IN, packaged_cards
from lowcloud.models.store import VERDICTS, Package, Wanted, bundled, configured

CARDS = packaged_cards()
WEIGHTS = b"weights"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    """An installed package with an encoder in it, that must not be imported."""
    folder = tmp_path / "site" / "a_bundled_encoder"
    (folder / "model").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise AssertionError('imported')")
    (folder / "model" / "model.safetensors").write_bytes(WEIGHTS)
    (folder / "model" / "config.json").write_text("{}")
    monkeypatch.syspath_prepend(tmp_path / "site")
    digest = hashlib.sha256(WEIGHTS).hexdigest()
    return Package(EMBEDDING_STAND_IN, "a_bundled_encoder", "model", "model/model.safetensors", digest)


def weights_of(package: Package, tmp_path: Path) -> Path:
    return tmp_path / "site" / package.module / package.weights


def test_a_bundled_model_is_found_with_its_card_and_its_package_is_not_imported(package: Package, tmp_path: Path):
    found = bundled(CARDS, tmp_path / "cache", [package])
    assert found.problems == ()
    (model,) = found.models
    assert (model.id, model.kind, model.card.dimensions) == (EMBEDDING_STAND_IN, "embedding", 384)
    assert model.source == tmp_path / "site" / "a_bundled_encoder" / "model"
    assert "a_bundled_encoder" not in sys.modules


def test_weights_other_than_the_pinned_ones_are_not_used(package: Package, tmp_path: Path):
    weights_of(package, tmp_path).write_bytes(b"other")
    found = bundled(CARDS, tmp_path / "cache", [package])
    assert found.models == ()
    assert found.problems == (
        f"{EMBEDDING_STAND_IN}: the weights in a_bundled_encoder are not the pinned ones; install it again",
    )


def test_a_verdict_is_kept_until_size_or_time_change(package: Package, tmp_path: Path):
    cache, weights = tmp_path / "cache", weights_of(package, tmp_path)
    bundled(CARDS, cache, [package])
    stamp = weights.stat().st_mtime_ns
    weights.write_bytes(b"WEIGHTS")
    os.utime(weights, ns=(stamp, stamp))
    assert bundled(CARDS, cache, [package]).models, "same size and time: not read again"
    os.utime(weights, ns=(stamp, stamp + 1))
    assert bundled(CARDS, cache, [package]).models == ()
    assert [file.name for file in cache.iterdir()] == [VERDICTS]


@pytest.mark.parametrize("kept", ["", "[]", '{"x": 1}', "not json"])
def test_a_broken_verdict_file_is_replaced(package: Package, tmp_path: Path, kept: str):
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / VERDICTS).write_text(kept)
    assert bundled(CARDS, cache, [package]).models
    assert [package.sha256 in str(value) for value in json.loads((cache / VERDICTS).read_text()).values()][-1]


def test_a_cache_folder_that_cannot_be_written_is_no_error(package: Package, tmp_path: Path):
    (tmp_path / "cache").write_text("a file, not a folder")
    assert bundled(CARDS, tmp_path / "cache", [package]).models


def test_a_package_that_is_not_installed_or_has_no_weights_is_named(package: Package, tmp_path: Path):
    weights_of(package, tmp_path).unlink()
    absent = Package("@local/absent", "a_package_that_nobody_has", "model", "model/weights", "")
    assert bundled(CARDS, tmp_path / "cache", [package, absent]).problems == (
        f"{EMBEDDING_STAND_IN}: the package a_bundled_encoder is not installed",
        "@local/absent: the package a_package_that_nobody_has is not installed",
    )


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    (tmp_path / "model.safetensors").write_bytes(b"")
    (tmp_path / "config.json").write_text(json.dumps({"max_position_embeddings": 512, "hidden_size": 768}))
    return tmp_path


@pytest.fixture
def text_folder(tmp_path: Path) -> Path:
    (tmp_path / "openvino_model.xml").write_text("<net/>")
    (tmp_path / "config.json").write_text(json.dumps({"max_position_embeddings": 4096}))
    return tmp_path


def test_a_configured_model_has_the_sizes_of_its_files(encoder: Path):
    model = configured(Wanted("mine", encoder, "embedding"), CARDS)
    assert (model.id, model.kind, model.source) == ("mine", "embedding", encoder)
    assert (model.card.task, model.card.owned_by) == (Task.TEXT_EMBEDDINGS, "local")
    assert (model.card.dimensions, model.card.max_input_tokens) == (768, 512)


def test_what_the_configuration_says_wins_over_the_files(encoder: Path):
    card = configured(Wanted("mine", encoder, "embedding", "my own", 0, 512, (128, 256)), CARDS).card
    assert (card.description, card.dimensions, card.matryoshka) == ("my own", 512, (128, 256))


@pytest.mark.parametrize("asked", [{"dimensions": 1024}, {"matryoshka": (256, 1024)}])
def test_more_dimensions_than_the_files_give_are_refused_by_key(encoder: Path, asked: dict[str, object]):
    (name,) = asked
    with pytest.raises(ValueError, match=rf'^models."@local/own"\.{name}: 1024 is more than the 768 that the files'):
        configured(Wanted("@local/own", encoder, "embedding", **asked), [])


def test_a_real_id_keeps_its_card_but_not_the_advertised_sizes(encoder: Path):
    card = configured(Wanted("@cf/google/embeddinggemma-300m", encoder, "embedding"), CARDS).card
    assert (card.owned_by, card.source) == ("google", "google/embeddinggemma-300m")
    assert (card.max_input_tokens, card.matryoshka) == (512, (128, 256, 512))


def test_whether_a_model_sees_is_for_its_files_to_say(text_folder: Path):
    seeing = "@cf/meta/llama-3.2-11b-vision-instruct"
    assert not configured(Wanted(seeing, text_folder, "text"), CARDS).card.vision
    (text_folder / "openvino_model.xml").unlink()
    for part in ("language", "text_embeddings", "vision_embeddings"):
        (text_folder / f"openvino_{part}_model.xml").write_text("<net/>")
    assert configured(Wanted("mine", text_folder, "text"), CARDS).card.vision


@pytest.mark.parametrize(("asked", "context"), [(0, 4096), (1024, 1024), (9999, 4096)])
def test_a_configured_context_only_makes_the_models_own_smaller(text_folder: Path, asked: int, context: int):
    assert configured(Wanted("mine", text_folder, "text", context_length=asked), CARDS).card.context_window == context


def test_a_configured_context_stands_where_the_files_name_none(text_folder: Path):
    (text_folder / "config.json").unlink()
    assert configured(Wanted("mine", text_folder, "text", context_length=64), CARDS).card.context_window == 64


def test_defaults_are_the_configurations_else_the_cards(text_folder: Path):
    smollm2 = "@local/smollm2-135m-instruct"
    assert configured(Wanted(smollm2, text_folder, "text"), CARDS).card.defaults.max_tokens == 512
    own = Wanted(smollm2, text_folder, "text", defaults=Defaults(temperature=1.0))
    assert configured(own, CARDS).card.defaults == Defaults(temperature=1.0)


def test_files_that_are_no_model_or_of_another_kind_are_refused_by_key_and_without_a_path(text_folder: Path):
    with pytest.raises(ValueError, match=r'^models\."mine"\.kind: .* kind text, not embedding') as other_kind:
        configured(Wanted("mine", text_folder, "embedding"), CARDS)
    (text_folder / "openvino_model.xml").unlink()
    with pytest.raises(ValueError, match=r'^models\."mine"\.path: neither a GGUF file') as none:
        configured(Wanted("mine", text_folder, "text"), CARDS)
    for refused in (other_kind, none):
        assert str(text_folder) not in str(refused.value)


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file that exists and can't be read")
def test_files_that_cannot_be_read_are_refused_by_key():
    with pytest.raises(ValueError, match=r'^models\."mine"\.path: Input/output error$'):
        configured(Wanted("mine", Path("/proc/self/mem"), "text"), CARDS)


def test_a_config_that_is_not_there_leaves_the_context_open(text_folder: Path):
    (text_folder / "config.json").unlink()
    assert configured(Wanted("mine", text_folder, "text"), CARDS).card.context_window is None
