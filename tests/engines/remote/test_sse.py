"""Server-sent events are read the same however their bytes are cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowcloud.engines.remote.sse import SseError, SseReader

ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])
NOISE = st.sampled_from([b": keep-alive", b":", b"event: ping", b"id: 7", b"retry: 10", b"nonsense"])
LINES = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"))


def read(*pieces: bytes) -> list[str]:
    reader = SseReader()
    return [data for piece in pieces for data in reader.feed(piece)] + list(reader.end())


@st.composite
def streams(draw) -> tuple[list[str], bytes]:
    """The data of some events, and a stream of them with comments and other fields between."""
    end, data, stream = draw(ENDS), [], b""
    for lines in draw(st.lists(st.lists(LINES, min_size=1, max_size=3), max_size=5)):
        for noise in draw(st.lists(NOISE, max_size=2)):
            stream += noise + end
        stream += b"".join(b"data: " + line.encode() + end for line in lines) + end
        data.append("\n".join(lines))
    return data, stream


@given(streams(), st.data())
def test_events_are_read_however_the_stream_is_cut(expected, data):
    events, stream = expected
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)))))
    pieces = [stream[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert read(*pieces) == events


@given(st.lists(st.binary()))
def test_no_bytes_make_it_fail_and_no_cut_changes_what_is_read(pieces):
    assert read(*pieces) == read(b"".join(pieces))


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: a\n\n", ["a"]),
        (b"data:a\n\n", ["a"]),
        (b"data:  a\n\n", [" a"]),
        (b"data\n\n", [""]),
        (b"data: a\ndata: b\n\n", ["a\nb"]),
        (b"event: x\n\n", []),
        (b"\xef\xbb\xbfdata: a\n\n", ["a"]),
        (b"data: a", ["a"]),
        (b"data: a\n", ["a"]),
        (b"data: a\r", ["a"]),
        (b"data: a\n\ndata: [DONE]\n\ndata: [DONE]\n\n", ["a", "[DONE]", "[DONE]"]),
        (b"data: \xff\n\n", ["�"]),
        (b"", []),
    ],
)
def test_the_forms_of_an_event(stream, events):
    assert read(stream) == events


@pytest.mark.parametrize("pieces", [[b"data: ", *[b"x" * 30] * 4], [b"data: " + b"x" * 30 + b"\n"] * 4])
def test_an_event_that_never_ends_is_refused(pieces):
    reader = SseReader(max_bytes=100)
    with pytest.raises(SseError):
        for piece in pieces:
            assert list(reader.feed(piece)) == []
