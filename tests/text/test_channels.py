from lowcloud.text.channels import Channels, Content


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


def test_a_gap_is_text_that_has_no_place_in_the_output():
    def script(reader):
        yield from reader.until(("|",), reader.content)
        reader.gap("\n\n")
        yield from reader.until((), reader.content)

    assert pieces(script, "a|b") == [Content("a", 1), Content("\n\n", 0), Content("b", 3)]
