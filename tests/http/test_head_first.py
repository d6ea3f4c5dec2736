"""The head of an answer goes out with the first bytes of its body, and never later than it would be missed."""

import asyncio

import pytest

from lowcloud.http.head_first import HeadFirst

pytestmark = pytest.mark.anyio
HEAD = b"HTTP/1.1 200 OK\r\n\r\n"


class Wire:
    """A transport that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[bytes | str] = []

    def write(self, data: bytes) -> None:
        self.told.append(data)

    def write_eof(self) -> None:
        self.told.append("eof")

    def close(self) -> None:
        self.told.append("close")

    def is_closing(self) -> bool:
        return "close" in self.told

    def pause_reading(self) -> None:
        self.told.append("pause")


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
async def transport(wire) -> HeadFirst:
    return HeadFirst(wire, asyncio.get_running_loop())


async def turn() -> None:
    """One of the loop's."""
    await asyncio.sleep(0)


async def test_a_head_goes_out_with_the_first_bytes_of_its_body(wire, transport):
    transport.begin()
    for data in (HEAD, b"a", b"b"):
        transport.write(data)
    assert wire.told == [HEAD + b"a", b"b"]
    await turn()
    assert wire.told == [HEAD + b"a", b"b"]


async def test_one_whose_body_lets_wait_goes_out_by_itself(wire, transport):
    transport.begin()
    transport.write(HEAD)
    assert wire.told == []
    await turn()
    assert wire.told == [HEAD]
    transport.write(b"a")
    assert wire.told == [HEAD, b"a"]


async def test_so_does_each_answers_of_a_connection(wire, transport):
    for _ in range(2):
        transport.begin()
        transport.write(HEAD)
        transport.write(b"a")
    assert wire.told == [HEAD + b"a"] * 2


async def test_many_pieces_at_once_do_not_overtake_it(wire, transport):
    transport.begin()
    transport.write(HEAD)
    transport.writelines([b"a", b"b"])
    assert wire.told == [HEAD + b"ab"]


async def test_what_is_no_answers_goes_out_at_once(wire, transport):
    transport.write(HEAD)
    assert wire.told == [HEAD]


@pytest.mark.parametrize("end", ["close", "write_eof"])
async def test_a_head_without_a_body_goes_out_before_the_end(wire, transport, end):
    transport.begin()
    transport.write(HEAD)
    getattr(transport, end)()
    assert wire.told == [HEAD, end.removeprefix("write_")]
    await turn()
    assert wire.told == [HEAD, end.removeprefix("write_")]


async def test_to_a_connection_that_was_lost_nothing_is_written(wire, transport):
    transport.begin()
    transport.write(HEAD)
    wire.close()
    await turn()
    assert wire.told == ["close"]


async def test_all_else_is_the_transports_own(wire, transport):
    transport.pause_reading()
    assert wire.told == ["pause"]
    assert not transport.is_closing()
