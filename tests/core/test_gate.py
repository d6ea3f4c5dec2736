"""Names are resolved, and sockets made, for addresses alone that may be gone to."""

import socket

import pytest

from lowcloud.core.addresses import is_public
from lowcloud.core.gate import ForbiddenAddressError, Gate, addresses_of, forbidden

pytestmark = pytest.mark.anyio
NAMES = {"open.test": ["1.1.1.1", "2606:4700::1111"], "mixed.test": ["1.1.1.1", "10.0.0.7"]}


def info(address: str, port: int = 443):
    return (socket.AF_INET, socket.SOCK_STREAM, 0, "", (address, port))


async def test_a_name_has_the_addresses_that_the_lookup_gives():
    gate = Gate(NAMES.__getitem__, is_public)
    assert [found["host"] for found in await gate.resolve("open.test", 443)] == NAMES["open.test"]
    await gate.close()


async def test_a_name_with_one_address_that_isnt_allowed_is_refused_whole():
    with pytest.raises(ForbiddenAddressError, match=r"10\.0\.0\.7"):
        await Gate(NAMES.__getitem__, is_public).resolve("mixed.test")


@pytest.mark.parametrize("ports", [None, (443,)])
def test_a_socket_is_made_for_an_allowed_address_and_port(ports):
    Gate(NAMES.__getitem__, is_public, ports).socket(info("1.1.1.1")).close()


@pytest.mark.parametrize(("address", "port"), [("127.0.0.1", 443), ("1.1.1.1", 80)])
def test_no_socket_is_made_for_another(address, port):
    with pytest.raises(ForbiddenAddressError, match=f"{address}|port {port}"):
        Gate(NAMES.__getitem__, is_public, (443,)).socket(info(address, port))


def test_a_refusal_is_found_behind_the_errors_around_it():
    refusal = ForbiddenAddressError("nothing is fetched from there")
    around = ValueError("around")
    around.__cause__ = refusal
    assert forbidden(around) is forbidden(refusal) is refusal
    assert forbidden(ValueError("another")) is forbidden(None) is None


def test_the_systems_resolver_gives_addresses():
    found = addresses_of("localhost")
    assert found
    assert not any(map(is_public, found))
