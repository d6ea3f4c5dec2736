"""What a client carries can be opened by this server for its account alone, and not be changed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowcloud.core.cipher import PREFIX
from lowcloud.core.errors import BadRequest
from lowcloud.http.responses.sealed import Sealer

SEALER = Sealer("a-secret-of-twenty-letters")


@given(st.text(), st.text())
def test_what_was_sealed_opens_again_for_its_account(text, account):
    assert SEALER.open(SEALER.seal(text, account), account, "input[0].encrypted_content") == text


def test_no_two_seals_of_a_text_are_alike():
    assert SEALER.seal("Hm.", "a") != SEALER.seal("Hm.", "a")


@given(st.integers(0, 10_000), st.sampled_from("ABCxyz019-_"))
def test_a_changed_one_is_refused_by_the_path(place, letter):
    sealed = SEALER.seal("thoughts", "a")
    at = place % len(sealed)
    changed = sealed[:at] + letter + sealed[at + 1 :]
    if changed != sealed:
        with pytest.raises(BadRequest, match=r"input\[2\]\.encrypted_content: can't be decrypted"):
            SEALER.open(changed, "a", "input[2].encrypted_content")


@pytest.mark.parametrize("sealed", ["", PREFIX, PREFIX + "AAAA", "gAAAAAB", PREFIX + "é", "\ud800"])
def test_what_was_never_sealed_is_refused(sealed):
    with pytest.raises(BadRequest):
        SEALER.open(sealed, "a", "input[0].encrypted_content")


def test_another_account_or_another_server_cant_open_it():
    sealed = SEALER.seal("thoughts", "a")
    with pytest.raises(BadRequest):
        SEALER.open(sealed, "b", "x")
    with pytest.raises(BadRequest):
        Sealer("another-secret-of-letters").open(sealed, "a", "x")


def test_the_items_that_have_any_are_opened_by_their_ids():
    items = [{"id": "msg_1"}, {"id": "rs_1", "encrypted_content": SEALER.seal("Hm.", "a")}]
    assert SEALER.opened(items, "a") == {"rs_1": "Hm."}
