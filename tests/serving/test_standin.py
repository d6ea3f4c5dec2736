"""A stand-in's vectors keep every cosine; a model's own are cut only to the sizes it was trained for."""

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowcloud.core.errors import BadRequest
from lowcloud.models.card import Card, Task
from lowcloud.models.catalogue import Answer
from lowcloud.serving.standin import dimensions_of, is_cut, resized

NUMBERS = st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=32)


def card(name: str, dimensions: int | None, *matryoshka: int) -> Card:
    return Card(id=name, task=Task.TEXT_EMBEDDINGS, owned_by="me", dimensions=dimensions, matryoshka=matryoshka)


def stand_in(asked: Card) -> Answer:
    return Answer(asked, card("small", 384), stand_in=True)


def own(of: Card) -> Answer:
    return Answer(of, of, stand_in=False)


def packed(numbers: list[float]) -> bytes:
    return struct.pack(f"<{len(numbers)}f", *numbers)


def unpacked(vector: bytes) -> tuple[float, ...]:
    return struct.unpack(f"<{len(vector) // 4}f", vector)


def dot(a: bytes, b: bytes) -> float:
    return math.fsum(x * y for x, y in zip(unpacked(a), unpacked(b), strict=True))


def test_without_dimensions_a_stand_in_has_those_of_the_model_asked_for():
    assert dimensions_of(stand_in(card("large", 1024)), None) == 1024


def test_without_dimensions_a_model_has_its_own_and_an_unknown_number_stays_open():
    assert dimensions_of(own(card("large", 1024)), None) == 1024
    assert dimensions_of(own(card("any", None)), None) is None


def test_a_model_is_cut_to_the_sizes_of_its_card_only():
    large = own(card("large", 1024, 256))
    assert [dimensions_of(large, size) for size in (256, 1024)] == [256, 1024]
    with pytest.raises(BadRequest, match="large can't give 512 dimensions; it gives: 256, 1024") as refused:
        dimensions_of(large, 512)
    assert refused.value.param == "dimensions"


def test_a_model_of_unknown_size_gives_none_on_request():
    with pytest.raises(BadRequest, match="it gives: none"):
        dimensions_of(own(card("any", None)), 8)


def test_a_stand_in_is_padded_to_sizes_that_the_model_asked_for_has():
    large = stand_in(card("large", 1024, 128, 384, 512))
    assert [dimensions_of(large, size) for size in (384, 512, 1024)] == [384, 512, 1024]
    with pytest.raises(BadRequest, match="it gives: 384, 512, 1024"):
        dimensions_of(large, 700)


def test_a_stand_in_is_never_cut():
    with pytest.raises(BadRequest, match="stand-in small: its 384 dimensions can't be cut to 128") as refused:
        dimensions_of(stand_in(card("large", 1024, 128)), 128)
    assert refused.value.param == "dimensions"


def test_a_mapped_models_dimensions_are_those_of_the_weights_that_answer():
    mapped = Answer(card("large", 1024), card("small", 384), stand_in=False)
    assert dimensions_of(mapped, None) == 384
    with pytest.raises(BadRequest, match="small can't give 1024"):
        dimensions_of(mapped, 1024)


@given(NUMBERS, NUMBERS, st.integers(0, 64))
def test_padding_leaves_every_dot_product_as_it_is(a: list[float], b: list[float], more: int):
    size = min(len(a), len(b))
    one, other = packed(a[:size]), packed(b[:size])
    assert dot(resized(one, size + more), resized(other, size + more)) == dot(one, other)
    assert len(resized(one, size + more)) == 4 * (size + more)


@given(NUMBERS.filter(lambda numbers: abs(numbers[0]) > 0.01), st.integers(1, 32))
def test_cutting_gives_a_unit_vector_of_the_same_direction(numbers: list[float], size: int):
    vector = packed(numbers)
    size = min(size, len(numbers))
    cut = resized(vector, size)
    assert is_cut(vector, size) == (size < len(numbers))
    if is_cut(vector, size):
        assert dot(cut, cut) == pytest.approx(1, abs=1e-5)
        norm = math.sqrt(dot(vector[: 4 * size], vector[: 4 * size]))
        assert dot(cut, vector[: 4 * size]) == pytest.approx(norm, rel=1e-5)
    else:
        assert cut == vector


def test_a_vector_that_is_zero_where_it_is_kept_stays_zero():
    assert resized(packed([0.0, 1.0]), 1) == packed([0.0])


def test_a_vector_of_an_open_size_stays_as_it_is():
    assert resized(packed([0.6, 0.8]), None) == packed([0.6, 0.8])
    assert not is_cut(packed([0.6, 0.8]), None)
