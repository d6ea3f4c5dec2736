"""What a request means once the card's defaults are in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowcloud.core.errors import BadRequest, PromptTooLong
from lowcloud.core.messages import Message, Messages, Text
from lowcloud.core.requests import Sampling
from lowcloud.engines.local.defaults import Context, Length, check_bias, length_of, param_of, sampling_of
from lowcloud.models.card import Defaults

CONTEXT = Context(100, "@test/model")


def length(prompt, asked, default):
    return length_of(prompt, asked, default, CONTEXT, "messages")


@pytest.mark.parametrize(
    ("prompt", "asked", "default", "expected"),
    [
        (40, 60, 10, Length(60, by_default=False)),
        (40, None, 10, Length(10, by_default=True)),
        (40, None, 59, Length(59, by_default=True)),
        (40, None, 60, Length(60, by_default=False)),
        (40, None, 500, Length(60, by_default=False)),
        (40, None, None, Length(60, by_default=False)),
        (99, None, 512, Length(1, by_default=False)),
    ],
)
def test_the_callers_bound_comes_first_then_the_cards_then_what_the_context_leaves(prompt, asked, default, expected):
    assert length(prompt, asked, default) == expected


@pytest.mark.parametrize("prompt", [100, 12_345])
def test_a_prompt_that_leaves_no_room_is_refused_with_both_counts_and_the_models_id(prompt):
    with pytest.raises(PromptTooLong, match=rf"@test/model is 100 tokens.* {prompt} tokens") as raised:
        length(prompt, 5, None)
    assert raised.value.param == "messages"


def test_more_tokens_than_the_context_leaves_are_refused_with_all_counts():
    with pytest.raises(PromptTooLong, match="100 tokens; the prompt has 40 tokens and 61 are asked for, 101") as raised:
        length(40, 61, None)
    assert raised.value.param == "max_tokens"


def test_a_prompt_without_tokens_is_refused():
    with pytest.raises(BadRequest, match="no tokens"):
        length(0, None, None)


@given(st.integers(0, 200), st.none() | st.integers(1, 200), st.none() | st.integers(1, 200))
def test_an_answer_never_leaves_the_context(prompt, asked, default):
    try:
        chosen = length(prompt, asked, default)
    except BadRequest:
        assert prompt in (0, *range(100, 201)) or (asked is not None and prompt + asked > 100)
    else:
        assert 1 <= chosen.max_tokens <= 100 - prompt
        assert asked in (None, chosen.max_tokens)


def test_sampling_takes_the_cards_defaults_and_then_neutral_values():
    card = Defaults(temperature=0.2, top_p=0.9)
    assert sampling_of(Sampling(), card, 7) == Sampling(0.2, 0.9, 0, 0.0, 7, 1.0)
    named = Sampling(0.0, 0.5, 4, 0.1, -3, 1.1, 0.2, 0.3, ((1, 2.0),))
    assert sampling_of(named, card, 7) == named


@pytest.mark.parametrize("token", [-1, 300])
def test_a_bias_on_an_id_that_is_no_tokens_is_refused(token):
    with pytest.raises(BadRequest, match=f"token {token}, and this model's ids are 0 to 299") as raised:
        check_bias(Sampling(logit_bias=((299, 1.0), (token, 1.0))), 300)
    assert raised.value.param == "logit_bias"


def test_errors_about_a_prompt_name_the_field_that_it_came_in():
    assert param_of(Messages((Message("user", "a"),))) == "messages"
    assert param_of(Text("a")) == "prompt"
