"""What a sequence drafts: from where, how far, and when no more. All from its own tokens."""

from hypothesis import given
from hypothesis import strategies as st

from lowcloud.engines.local.drafting import MAX_DRAFT, Drafter

FAR = 10**6
TEXT = [1, 2, 3, 4, 5, 6, 7, 8, 9]


def after(prompt, taken, prediction=(), end=FAR):
    drafter = Drafter(prompt, prediction, end)
    for token in taken:
        drafter.take(token)
    return drafter


def won_and_lost(prompt, taken, prediction=()):
    """How many drafted tokens came, and how many didn't, as the loop sees it."""
    drafter = Drafter(prompt, prediction, FAR)
    won = lost = 0
    for token in taken:
        draft = drafter.draft
        drafter.take(token)
        is_right = draft[:1] == [token]
        won += is_right
        lost += 0 if is_right else len(draft)
    return won, lost


def test_nothing_is_drafted_before_the_first_token():
    assert Drafter(TEXT + TEXT[:3], TEXT, FAR).draft == []


def test_what_followed_the_last_three_tokens_is_drafted():
    assert after([*TEXT, 50, 1, 2], [3]).draft == [4]
    assert after([*TEXT, 50, 51, 2], [3]).draft == []


def test_it_is_what_followed_the_last_time():
    assert after([1, 2, 3, 20, 21, 22, 1, 2, 3, 30, 31, 32, 1, 2], [3]).draft == [30]


def test_its_own_answer_is_looked_up_too():
    assert after([99], [1, 2, 3, 40, 41, 42, 1, 2, 3]).draft == [40]


def test_the_place_that_it_follows_goes_before_a_later_one():
    """After 1 2 3 it follows the first 3 4; 2 3 4 stood later too."""
    prompt = [1, 2, 3, 4, 5, 6, 7, 2, 3, 4, 60, 61, 62]
    assert after([*prompt, 1, 2], [3, 4, 5]).draft == [6, 7, 2]


def test_at_the_end_of_the_text_its_last_tokens_go_round():
    assert after([7, 8, 7, 8, 7], [8, 7, 8]).draft == [7, 8, 7]
    assert after([7, 7, 7], [7, 7, 7]).draft == [7, 7, 7]


def test_a_guess_reaches_further_after_one_that_was_wholly_right():
    prompt = [*TEXT, 50, 1, 2]
    assert after(prompt, [3]).draft == [4]
    assert after(prompt, [3, 4, 5]).draft == [6, 7, 8]
    assert after(prompt, [3, 4, 5, 6, 7, 70, 2, 3, 4]).draft == [5]


def test_a_prediction_is_followed_from_its_beginning_to_its_end():
    prediction = [11, 12, 13, 14, 15, 16, 17]
    assert after([1, 2], [11], prediction).draft == [12, 13, 14]
    assert after([1, 2], [11, 12, 13, 14, 15], prediction).draft == [16, 17]
    assert after([1, 2], [11, 12, 13, 14, 15, 16, 17], prediction).draft == []
    assert after([1, 2], [5, 14, 15, 16], prediction).draft == [17]


def test_a_draft_shrinks_by_the_tokens_that_it_foresaw():
    """The loop may run it whole, in parts, or not at all."""
    drafter = after([*TEXT, 50, 1, 2], [3, 4, 5])
    drafts = []
    for token in (6, 7, 8, 9):
        drafter.take(token)
        drafts.append(drafter.draft)
    assert drafts == [[7, 8], [8], [], [50, 1, 2]]
    assert won_and_lost([*TEXT, 50, 1, 2], [3, 4, 5, 6, 7, 8, 9]) == (4, 0)


def test_a_wrong_token_ends_a_draft():
    assert after([*TEXT, 50, 1, 2], [3, 4, 5, 6, 70]).draft == []
    assert won_and_lost([*TEXT, 50, 1, 2], [3, 4, 5, 6, 70]) == (2, 2)


def test_the_tokens_of_a_prediction_are_counted_and_no_others():
    prediction = [11, 12, 13, 14, 15, 16, 17, 18]
    counts = [
        after([1, 2], [11, *tokens], prediction).predicted for tokens in ([], [12], [12, 13, 14], [12, 13, 14, 15])
    ]
    assert counts == [[0, 0], [1, 0], [3, 0], [3, 0]]  # the token behind a draft needs none
    assert after([1, 2], [11, 12, 99], prediction).predicted == [1, 2]
    assert after([1, 2], [11, 12, 99, 13, 14, 15, 16], prediction).predicted == [2, 2]
    assert after([*TEXT, 50, 1, 2], [3, 4, 5, 6, 7, 8, 9], [90, 91]).predicted == [0, 0]
    assert won_and_lost([*TEXT, 50, 1, 2], [3, 4, 5, 6, 7, 8, 9], [90, 91]) == (5, 0)


def test_no_draft_goes_beyond_the_end_of_the_sequence():
    """The token that follows a draft in its pass counts too."""
    prompt = [*TEXT, 50, 1, 2]
    lengths = [len(after(prompt, [3, 4, 5], end=len(prompt) + n).draft) for n in (3, 4, 5, 6, 7, 9)]
    assert lengths == [0, 0, 1, 2, 3, 3]


def wrong(n):
    """A text in which every draft is wrong: 1 2 3 stands again and again, and another token follows."""
    return [token for i in range(n) for token in (1, 2, 3, 1000 + i)]


def test_who_drafts_wrongly_stops_and_a_long_text_tries_again():
    won, lost = won_and_lost([0], wrong(6))
    assert won == 0 and 0 < lost <= 2
    assert won_and_lost([0], wrong(11)) == (won, lost)
    assert won_and_lost([0], wrong(400))[1] > lost


@given(st.lists(st.integers(0, 2), max_size=400), st.booleans())
def test_the_loss_is_bounded_whatever_the_text(tokens, is_predicted):
    """In a full batch a row more costs three quarters of a token."""
    won, lost = won_and_lost([0, 1, 2], tokens, [0, 1, 2, 0] if is_predicted else [])
    start = 12 if is_predicted else 1
    assert won - 0.75 * (won + lost) >= -(start + 0.01 * len(tokens) + 0.75 * MAX_DRAFT)


@given(st.lists(st.integers(0, 3), min_size=4, max_size=80), st.integers(0, 80))
def test_a_resumed_sequence_drafts_on_as_it_would_have(tokens, n):
    """All that counts is which tokens came, not how."""
    whole = Drafter([0, 1], [1, 2, 3], FAR)
    drafts = []
    for token in tokens:
        whole.take(token)
        drafts.append(whole.draft)
    resumed = after([0, 1], tokens[:n], [1, 2, 3])
    for token, draft in zip(tokens[n:], drafts[n:], strict=True):
        resumed.take(token)
        assert resumed.draft == draft
