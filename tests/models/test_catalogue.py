"""Who answers for an id, who doesn't and why, and what the packaged catalogue knows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowcloud.core.errors import ModelNotFound
from lowcloud.models.card import Card, Task
from lowcloud.models.catalogue import (
    CHAT_STAND_IN,
    EMBEDDING_STAND_IN,
    Answer,
    Catalogue,
    packaged_cards,
    parse_cards,
)

CARDS = {card.id: card for card in packaged_cards()}
BUNDLED = [CARDS[CHAT_STAND_IN], CARDS[EMBEDDING_STAND_IN]]
LLAMA = "@cf/meta/llama-3.1-8b-instruct"
LARGE = "@cf/baai/bge-large-en-v1.5"
GUARD = "@cf/meta/llama-guard-3-8b"
RERANKER = "@cf/baai/bge-reranker-base"
EXTRA = [
    Card(id="@me/tiny-embedding", task=Task.TEXT_EMBEDDINGS, owned_by="me", dimensions=256),
    Card(id="@me/unknown-embedding", task=Task.TEXT_EMBEDDINGS, owned_by="me"),
]


def dev() -> Catalogue:
    return Catalogue([*CARDS.values(), *EXTRA], BUNDLED, stand_ins=True)


def serve(**mapping: str) -> Catalogue:
    return Catalogue(CARDS.values(), BUNDLED, mapping=mapping)


def refusal(catalogue: Catalogue, model_id: str) -> ModelNotFound:
    with pytest.raises(ModelNotFound) as refused:
        catalogue.resolve(model_id)
    return refused.value


def test_the_catalogue_has_over_a_hundred_real_ids_of_every_task():
    assert len(CARDS) >= 100
    assert {card.task for card in CARDS.values()} == set(Task)
    assert all(model_id.startswith(("@cf/", "@hf/", "@local/")) for model_id in CARDS)


def test_the_catalogue_has_the_sizes_of_embedding_models():
    sizes = {card.id: card.dimensions for card in CARDS.values() if card.task == Task.TEXT_EMBEDDINGS}
    assert sizes == {
        EMBEDDING_STAND_IN: 384,
        "@cf/baai/bge-small-en-v1.5": 384,
        "@cf/baai/bge-base-en-v1.5": 768,
        LARGE: 1024,
        "@cf/baai/bge-m3": 1024,
        "@cf/google/embeddinggemma-300m": 768,
        "@cf/qwen/qwen3-embedding-0.6b": 1024,
        "@cf/pfnet/plamo-embedding-1b": 2048,
    }
    assert all(size < (card.dimensions or 0) for card in CARDS.values() for size in card.matryoshka)


def test_the_small_chat_model_has_its_defaults():
    card = CARDS[CHAT_STAND_IN]
    defaults = card.defaults
    assert (defaults.temperature, defaults.top_p, defaults.max_tokens) == (0.2, 0.9, 512)
    assert (card.context_window, card.owned_by) == (8192, "HuggingFaceTB")


def test_guard_models_are_not_chat_models():
    guards = {card.id for card in CARDS.values() if "guard" in card.id}
    assert guards == {GUARD, "@cf/meta/prompt-guard-2-86m", "@hf/thebloke/llamaguard-7b-awq"}
    assert {CARDS[model_id].task for model_id in guards} == {Task.MODERATION}


def test_a_date_of_creation_is_its_midnight_in_utc():
    assert CARDS["@cf/openai/gpt-oss-20b"].created == 1754352000  # 2025-08-05
    assert CARDS[CHAT_STAND_IN].created == 0


def test_the_newer_models_answer_the_native_run_with_chat_completions():
    chat = {card.id for card in CARDS.values() if card.family == "chat"}
    assert {"@cf/openai/gpt-oss-120b", "@cf/qwen/qwen3-30b-a3b-fp8", "@cf/google/gemma-4-26b-a4b-it"} <= chat
    assert not chat & {LLAMA, CHAT_STAND_IN, "@cf/ibm-granite/granite-4.0-h-micro", "@cf/qwen/qwq-32b"}
    assert all(CARDS[model_id].task == Task.TEXT_GENERATION for model_id in chat)


def test_embedding_models_say_what_they_take_and_how_many_at_once():
    taken = {
        card.id: (card.embedding_input, card.max_batch) for card in CARDS.values() if card.task == Task.TEXT_EMBEDDINGS
    }
    assert taken == {
        EMBEDDING_STAND_IN: ("bge", None),
        "@cf/baai/bge-small-en-v1.5": ("bge", 100),
        "@cf/baai/bge-base-en-v1.5": ("bge", 100),
        LARGE: ("bge", 100),
        "@cf/baai/bge-m3": ("bge-m3", 100),
        "@cf/google/embeddinggemma-300m": ("text", None),
        "@cf/qwen/qwen3-embedding-0.6b": ("qwen3-embedding", 32),
        "@cf/pfnet/plamo-embedding-1b": ("text", None),
    }


def test_the_models_that_only_payers_of_the_service_get_are_marked():
    paid = {card.id.rpartition("/")[2] for card in CARDS.values() if card.require_workers_paid}
    assert paid == {
        "kimi-k2.6",
        "kimi-k2.7-code",
        "glm-5.2",
        "glm-5.3",
        "glm-5.3-flash",
        "deepseek-v4-flash-0731",
        "deepseek-v4-pro-0813",
    }


def test_every_card_has_a_description_of_its_own():
    descriptions = [card.description for card in CARDS.values()]
    assert all(descriptions)


def test_an_id_given_twice_is_refused():
    entry = '[[model]]\nid = "a"\ntask = "Rerank"\nowned_by = "me"\n'
    assert [card.id for card in parse_cards(entry)] == ["a"]
    with pytest.raises(ValueError, match="has a twice"):
        parse_cards(entry * 2)


@pytest.mark.parametrize("line", ['task = "Poetry"', "dimensions = 0", 'colour = "red"'])
def test_a_card_with_a_wrong_field_is_refused(line: str):
    fields = {"id": '"a"', "task": '"Rerank"', "owned_by": '"me"'} | dict([line.split(" = ")])
    with pytest.raises(ValueError, match=line.split(" = ", maxsplit=1)[0]):
        parse_cards("[[model]]\n" + "\n".join(f"{key} = {value}" for key, value in fields.items()))


def test_a_local_model_answers_for_itself():
    for catalogue in (dev(), serve()):
        card = CARDS[CHAT_STAND_IN]
        assert catalogue.resolve(CHAT_STAND_IN) == Answer(card, card, stand_in=False)


def test_a_local_model_under_a_real_id_is_no_stand_in():
    card = CARDS[LLAMA].model_copy(update={"description": "mine"})
    catalogue = Catalogue(CARDS.values(), [*BUNDLED, card], stand_ins=True)
    assert catalogue.resolve(LLAMA) == Answer(card, card, stand_in=False)


def test_stand_ins_answer_for_text_generation_and_for_embeddings_that_need_no_cutting():
    catalogue = dev()
    for card in CARDS.values():
        if card.id in (CHAT_STAND_IN, EMBEDDING_STAND_IN):
            continue
        if card.task == Task.TEXT_GENERATION:
            assert catalogue.resolve(card.id) == Answer(card, CARDS[CHAT_STAND_IN], stand_in=True)
        elif card.task == Task.TEXT_EMBEDDINGS:
            assert catalogue.resolve(card.id) == Answer(card, CARDS[EMBEDDING_STAND_IN], stand_in=True)
        elif card.task in (Task.TEXT_CLASSIFICATION, Task.RERANK):
            assert f"a model for {card.task.value} has no stand-in" in str(refusal(catalogue, card.id))
        else:
            assert str(refusal(catalogue, card.id)).endswith(f"{card.id}: no engine here does {card.task.value} yet.")


def test_a_stand_ins_vectors_are_never_cut():
    assert "the model has 256 dimensions and the stand-in's 384 would have to be cut" in str(
        refusal(dev(), "@me/tiny-embedding")
    )
    assert "an unknown number of dimensions" in str(refusal(dev(), "@me/unknown-embedding"))


def test_without_stand_ins_a_known_model_says_that_its_weights_are_not_here_and_how_to_map_it():
    for model_id in (LLAMA, LARGE, RERANKER):
        message = str(refusal(serve(), model_id))
        assert f"No such model {model_id}: its weights aren't here; map it" in message
        assert f'[map] "{model_id}"' in message


def test_without_a_small_model_installed_there_is_no_stand_in_of_its_kind():
    catalogue = Catalogue(CARDS.values(), [CARDS[EMBEDDING_STAND_IN]], stand_ins=True)
    assert "weights aren't here; map it" in str(refusal(catalogue, LLAMA))
    assert catalogue.resolve(LARGE).stand_in


def test_the_configuration_wins_over_everything_and_is_no_stand_in():
    card = CARDS[LLAMA]
    catalogue = Catalogue(CARDS.values(), [*BUNDLED, card], mapping={LLAMA: CHAT_STAND_IN}, stand_ins=True)
    assert catalogue.resolve(LLAMA) == Answer(card, CARDS[CHAT_STAND_IN], stand_in=False)


def test_a_mapped_id_that_nobody_knows_has_the_card_of_the_weights_under_its_own_id():
    answer = serve(**{"gpt-4o": CHAT_STAND_IN}).resolve("gpt-4o")
    assert (answer.card.id, answer.by.id, answer.stand_in) == ("gpt-4o", CHAT_STAND_IN, False)
    assert answer.card.context_window == 8192


def test_a_guard_model_may_be_mapped_by_name():
    assert serve(**{GUARD: CHAT_STAND_IN}).resolve(GUARD).by.id == CHAT_STAND_IN


def test_the_star_answers_for_unknown_ids_and_for_known_ones_of_its_task_only():
    catalogue = serve(**{"*": CHAT_STAND_IN})
    assert catalogue.resolve("gpt-4o").by.id == CHAT_STAND_IN
    assert catalogue.resolve(LLAMA) == Answer(CARDS[LLAMA], CARDS[CHAT_STAND_IN], stand_in=False)
    assert catalogue.resolve(EMBEDDING_STAND_IN).by.id == EMBEDDING_STAND_IN
    for model_id in (GUARD, LARGE, ""):
        refusal(catalogue, model_id)


def test_a_stand_in_comes_before_the_star():
    catalogue = Catalogue(CARDS.values(), BUNDLED, mapping={"*": CHAT_STAND_IN}, stand_ins=True)
    assert catalogue.resolve(LLAMA).stand_in
    assert not catalogue.resolve("gpt-4o").stand_in


def test_a_mapping_to_a_model_that_is_not_here_is_an_error_that_names_the_key():
    with pytest.raises(ValueError, match=r'map\."gpt-4o": no local model @local/x; there are: @local/all-minilm'):
        serve(**{"gpt-4o": "@local/x"})
    with pytest.raises(ValueError, match=r'map\."\*": no local model @local/x; there are: none'):
        Catalogue([], [], mapping={"*": "@local/x"})


def test_ids_are_matched_exactly():
    near = refusal(dev(), LLAMA.upper()).near
    assert near[0] == LLAMA


@pytest.mark.parametrize(
    ("asked", "first"),
    [
        ("@cf/meta/lama-3.1-8b-instruct", LLAMA),
        ("llama-3.1-8b-instruct", LLAMA),
        ("smollm2", CHAT_STAND_IN),
        ("bge-large-en-v1.5", LARGE),
    ],
)
def test_an_unknown_id_lists_at_most_three_near_names(asked: str, first: str):
    error = refusal(dev(), asked)
    assert error.near[0] == first
    assert len(error.near) <= 3
    assert f"Did you mean {first}" in str(error)


def test_near_names_that_would_answer_come_first():
    assert refusal(serve(**{"my-guard-3-8b": CHAT_STAND_IN}), "guard-3-8b").near[0] == "my-guard-3-8b"


def test_an_id_without_near_names_points_at_the_list():
    error = refusal(dev(), "zq")
    assert error.near == ()
    assert "GET models lists those that answer" in str(error)


def test_a_very_long_id_is_shown_short():
    assert len(str(refusal(dev(), "x" * 10**6))) < 250


def test_the_list_is_exactly_what_would_answer_without_repeats():
    for catalogue in (dev(), serve(), serve(**{LLAMA: CHAT_STAND_IN, "mine": CHAT_STAND_IN, "*": CHAT_STAND_IN})):
        listed = [answer.card.id for answer in catalogue.answerable()]
        assert len(listed) == len(set(listed))
        for model_id in {*CARDS, LLAMA, "mine"}:
            if model_id in listed:
                assert catalogue.resolve(model_id) in catalogue.answerable()
            elif model_id in CARDS:
                refusal(catalogue, model_id)
    assert [answer.card.id for answer in serve().answerable()] == [CHAT_STAND_IN, EMBEDDING_STAND_IN]
    assert LLAMA in [answer.card.id for answer in dev().answerable()]
    assert "*" not in [answer.card.id for answer in serve(**{"*": CHAT_STAND_IN}).answerable()]


def test_a_listing_says_where_the_weights_are_who_answers_and_why_nobody_does():
    remote = Card(id="gpt-4o", task=Task.TEXT_GENERATION, owned_by="remote")
    catalogue = Catalogue(
        CARDS.values(), [*BUNDLED, remote], mapping={"mine": "gpt-4o"}, remote=["gpt-4o"], stand_ins=True
    )
    listings = {listing.card.id: listing for listing in catalogue.listings()}
    assert set(listings) == {*CARDS, "gpt-4o", "mine"}
    assert {listing.weights for listing in listings.values()} == {"here", "upstream", "absent"}
    for model_id, listing in listings.items():
        weights = "upstream" if model_id == "gpt-4o" else "here" if model_id.startswith("@local/") else "absent"
        assert listing.weights == weights
        if listing.answer is None:
            assert listing.why_not in str(refusal(catalogue, model_id))
        else:
            assert (listing.answer, listing.why_not) == (catalogue.resolve(model_id), "")
    assert listings[GUARD].why_not == "no engine here does Moderation yet"
    assert "has no stand-in" in listings[RERANKER].why_not
    assert listings["mine"].answer.by.id == "gpt-4o"


def test_a_decision_model_is_not_answered_by_a_chat_model():
    assert "no engine here does Decision yet" in str(refusal(dev(), "@cf/cloudflare/clef"))


@given(st.text())
def test_any_text_is_answered_or_not_found(model_id: str):
    catalogue = dev()
    try:
        assert catalogue.resolve(model_id).card.id == model_id
    except ModelNotFound as error:
        assert error.param == "model"
