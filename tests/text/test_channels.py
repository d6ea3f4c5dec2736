import json
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from lowcloud.text.channels import CallArguments, Channels, Content, Thought

MARKS = st.lists(st.text("ab<", min_size=1, max_size=4), min_size=1, max_size=4, unique=True)
TEXTS = st.text("ab< ", max_size=30)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


def pieces(script, *chunks):
    channels = Channels(script)
    return [piece for chunk in chunks for piece in channels.feed(chunk)] + channels.end()


def bracketed(reader):
    """Words, with brackets and what is in them left out."""
    while (yield from reader.until(("[",), reader.words)) is not None:
        yield from reader.until(("]",), lambda _: None)


def test_white_space_before_what_is_left_out_waits_for_more_words():
    assert pieces(bracketed, "one [x] two") == [Content("one", 3), Content(" ", 4), Content(" two", 11)]
    assert pieces(bracketed, "one ", "[x]", " ", "two") == [
        Content("one", 3),
        Content(" ", 4),
        Content(" ", 8),
        Content("two", 11),
    ]


def test_white_space_that_waits_is_text_at_the_end_unless_it_is_dropped():
    def dropping(reader):
        yield from bracketed(reader)
        reader.drop_space()

    assert pieces(bracketed, "one \n[x]") == [Content("one", 3), Content(" \n", 5)]
    assert pieces(dropping, "one \n[x]") == [Content("one", 3)]


def test_what_begins_like_a_mark_is_text_where_the_model_ended_and_dropped_where_it_was_cut():
    def script(reader):
        yield from reader.until(("<a>", "<b>"), reader.content)
        yield from reader.goes_on(("</a>",))
        yield from reader.until((), reader.content)

    def read(text, *, is_cut):
        channels = Channels(script)
        return "".join(piece.text for piece in (*channels.feed(text), *channels.end(is_cut=is_cut)))

    said = {"1 < 2 <": "1 < 2 ", "1<a": "1", "1<a></": "1", "1<a>": "1", "1<a></b": "1</b", "<ab": "<ab"}
    for text, cut in said.items():
        assert read(text, is_cut=True) == cut
    assert read("1<a", is_cut=False) == "1<a" and read("1<a></", is_cut=False) == "1</"


def test_what_a_cut_leaves_undecided_is_dropped():
    def calls(reader):
        yield from reader.spaces()
        return (yield from reader.goes_on(("call(",))) is not None

    def script(reader):
        yield from reader.ahead(calls(reader))
        yield from reader.until((), reader.content)

    for text, said in {" ca": "", " cat": " cat", " call(": " call("}.items():
        channels = Channels(script)
        assert "".join(piece.text for piece in (*channels.feed(text), *channels.end(is_cut=True))) == said


def test_a_gap_is_text_that_has_no_place_in_the_output():
    def script(reader):
        yield from reader.until(("|",), reader.content)
        reader.gap("\n\n")
        yield from reader.until((), reader.content)

    assert pieces(script, "a|b") == [Content("a", 1), Content("\n\n", 0), Content("b", 3)]


@given(TEXTS, MARKS, st.data())
def test_any_split_into_chunks_gives_the_same_pieces(text, marks, data):
    def script(reader):
        """Every way of reading, in turns, as the text has it."""
        reader.content((yield from reader.spaces()))
        while (mark := (yield from reader.until(marks, reader.words))) is not None:
            if not (yield from reader.ahead(reader.word("<"))):
                reader.drop_space()
            reader.thought((yield from reader.word(" ")) + mark)
            if (yield from reader.goes_on(marks)) is None and (yield from reader.peek(2)) == "  ":
                reader.arguments(reader.take(1))
            yield from reader.json(reader.arguments)

    chunks = data.draw(splits(text))
    assert folded(pieces(script, *chunks)) == folded(pieces(script, text))


@given(TEXTS, MARKS)
def test_text_before_a_mark_is_let_out_once_it_can_be_no_mark_and_no_sooner(text, marks):
    read = []

    def script(reader):
        read.append((yield from reader.until(marks, reader.content)))

    before, mark = first_mark(text, marks)
    channels, said = Channels(script), ""
    for n, char in enumerate(text, start=1):
        said += "".join(piece.text for piece in channels.feed(char))
        assert before.startswith(said)
        assert len(said) > min(n, len(before)) - max(map(len, marks))
    said += "".join(piece.text for piece in channels.end())
    assert (said, read) == (before, [mark])


@given(JSON, st.sampled_from(["", ",", "}", "]", " ", "\n", ', "more": 1}']), st.booleans(), st.data())
def test_a_json_value_is_read_to_its_end_and_no_further(value, rest, is_ascii, data):
    written = json.dumps(value, ensure_ascii=is_ascii)
    known = []

    def script(reader):
        known.append((yield from reader.json(reader.arguments)))
        yield from reader.until((), reader.content)

    told = folded(pieces(script, *data.draw(splits(written + rest))))
    assert told == [(kind, text) for kind, text in ((CallArguments, written), (Content, rest)) if text]
    assert known == [True]


@given(JSON.filter(lambda value: isinstance(value, str | list | dict)), st.data())
def test_a_json_value_that_the_outputs_end_cuts_is_none(value, data):
    written = json.dumps(value)
    known = []

    def script(reader):
        known.append((yield from reader.json(reader.arguments)))

    pieces(script, written[: data.draw(st.integers(0, len(written) - 1))])
    assert known == [False]


def test_json_whose_brackets_do_not_match_is_broken_where_they_do_not():
    known = []

    def script(reader):
        known.append((yield from reader.json(reader.arguments)))
        yield from reader.until((), reader.content)

    for chunks in (['{"a": [1}, 2'], list('{"a": [1}, 2')):
        assert folded(pieces(script, *chunks)) == [(CallArguments, '{"a": [1'), (Content, "}, 2")]
    assert known == [False, False]


@given(TEXTS, st.data())
def test_what_was_looked_at_ahead_is_read_again_with_its_place(text, data):
    seen = []

    def look(reader):
        first = yield from reader.word("<")
        again = yield from reader.ahead(reader.word("a"))
        return (first, again, (yield from reader.peek(3)))

    def script(reader):
        seen.append((yield from reader.ahead(look(reader))))
        yield from reader.until((), reader.content)

    read = pieces(script, *data.draw(splits(text)))
    assert "".join(piece.text for piece in read) == text
    assert all(isinstance(piece, Content) and piece.end <= len(text) for piece in read)
    assert not read or read[-1].end == len(text)
    head, bracket, tail = text.partition("<")
    assert seen == [(head, (bracket + tail).partition("a")[0], (bracket + tail)[:3])]


@given(TEXTS, st.data())
def test_the_places_of_texts_grow_with_the_output(text, data):
    def script(reader):
        while (yield from reader.until(("<",), reader.words)) is not None:
            pass

    read = pieces(script, *data.draw(splits(text)))
    assert all(one.end < other.end for one, other in pairwise(read))
    assert all(text[piece.end - len(piece.text) : piece.end] == piece.text for piece in read)


@st.composite
def splits(draw, text):
    """The text in chunks of any sizes."""
    cuts = sorted(draw(st.sets(st.integers(0, len(text)))) | {0, len(text)})
    return [text[start:end] for start, end in pairwise(cuts)]


def folded(read):
    """Pieces of a kind that follow each other as one."""
    joined = []
    for piece in read:
        text = piece.text if isinstance(piece, Content | Thought | CallArguments) else repr(piece)
        if joined and joined[-1][0] is type(piece):
            joined[-1] = (type(piece), joined[-1][1] + text)
        else:
            joined.append((type(piece), text))
    return joined


def first_mark(text, marks):
    """What stands before the first mark, and that mark: the longest of those at its place."""
    found = [(text.find(mark), -len(mark), mark) for mark in marks if mark in text]
    if not found:
        return text, None
    start, _, mark = min(found)
    return text[:start], mark
