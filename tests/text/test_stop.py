"""Stop strings end a text at the same place, however it is cut into pieces."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowcloud.text.stop import StopMatcher

letters = st.text(alphabet="abc\né", max_size=30)
stop_lists = st.lists(st.text(alphabet="abc\né", min_size=1, max_size=5), max_size=4)


def in_pieces(text: str, cuts: list[int]) -> list[str]:
    edges = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    return [text[start:end] for start, end in pairwise(edges)]


def through(pieces: list[str], stops: list[str]) -> tuple[list[str], str | None]:
    """What comes out, piece by piece, and the stop string."""
    matcher, out = StopMatcher(stops), []
    for piece in pieces:
        passed = matcher.feed(piece)
        out.append(passed.text)
        if passed.stop is not None:
            return out, passed.stop
    return [*out, matcher.flush()], None


def cut_by_find(text: str, stops: list[str]) -> tuple[str, str | None]:
    """The definition: the first to be complete; of those, the longest."""
    found = [(text.find(stop) + len(stop), -len(stop), stop) for stop in stops if stop in text]
    if not found:
        return text, None
    end, _, stop = min(found)
    return text[: end - len(stop)], stop


@given(letters, stop_lists, st.lists(st.integers(0, 30), max_size=12))
def test_any_cutting_into_pieces_gives_what_find_gives_on_the_whole_text(text, stops, cuts):
    out, stop = through(in_pieces(text, cuts), stops)
    assert ("".join(out), stop) == cut_by_find(text, stops)


@given(letters, stop_lists, st.lists(st.integers(0, 30), max_size=12))
def test_only_what_may_become_a_stop_string_is_held_back(text, stops, cuts):
    matcher, fed, out = StopMatcher(stops), "", ""
    for piece in in_pieces(text, cuts):
        fed += piece
        passed = matcher.feed(piece)
        if passed.stop is not None:
            return
        out += passed.text
        tail = fed.removeprefix(out)
        assert tail == "" or any(len(tail) < len(stop) and stop.startswith(tail) for stop in stops)
        longer = [fed[-n:] for n in range(len(tail) + 1, len(fed) + 1)]
        assert not any(stop.startswith(more) for stop in stops for more in longer)


@pytest.mark.parametrize(
    ("pieces", "stops", "out", "stop"),
    [
        (["Hello wor", "ld"], ["world"], "Hello ", "world"),
        (["a\n", "\nb"], ["\n\n"], "a", "\n\n"),
        (["aab"], ["ab", "b"], "a", "ab"),
        (["aaaab"], ["aab"], "aa", "aab"),
        (["wor", "m"], ["world"], "worm", None),
        (["wor"], ["world"], "wor", None),
        (["text"], [], "text", None),
        (["text"], [""], "text", None),
        (["stop"], ["stop"], "", "stop"),
    ],
)
def test_the_text_before_the_stop_is_kept_and_a_beginning_that_goes_on_otherwise_is_let_out(pieces, stops, out, stop):
    came, ended_by = through(pieces, stops)
    assert ("".join(came), ended_by) == (out, stop)


def test_a_stop_string_of_any_length_costs_a_constant_a_character():
    text = "a" * 200_000
    out, stop = through([text, "b"], ["a" * 100_000 + "b"])
    assert (len("".join(out)), stop) == (100_000, "a" * 100_000 + "b")
