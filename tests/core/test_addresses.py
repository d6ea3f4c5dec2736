"""Which addresses are the open Internet's."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lowcloud.core.addresses import is_public

FOURS = st.integers(0, 2**32 - 1).map(IPv4Address)
SIXES = st.integers(0, 2**128 - 1).map(IPv6Address)
NOT_FOR_US = (
    *map(IPv4Network, ("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12")),
    *map(IPv4Network, ("192.0.0.0/24", "192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/4", "240.0.0.0/4")),
    *map(IPv6Network, ("::/96", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8", "2001::/32", "2002::/16")),
)


def inside(network: IPv4Network | IPv6Network) -> st.SearchStrategy:
    first, last = int(network[0]), int(network[-1])
    return st.integers(first, last).map(type(network[0]))


@pytest.mark.parametrize("address", ["1.1.1.1", "8.8.8.8", "93.184.216.34", "2606:4700::1111", "2a00:1450:4001::200e"])
def test_addresses_of_the_open_internet_are_public(address):
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "0.0.0.0",
        "10.1.2.3",
        "172.31.255.255",
        "192.168.0.1",
        "100.64.0.1",
        "169.254.169.254",  # AWS, Google, Azure, Oracle, Hetzner ...
        "100.100.100.200",  # Alibaba
        "168.63.129.16",  # Azure
        "192.0.0.192",  # Oracle
        "255.255.255.255",
        "224.0.0.1",
        "::",
        "::1",
        "::7f00:1",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "fd00:ec2::254",  # AWS
        "fd20:ce::254",  # Google
        "ff02::1",
        "2001:db8::1",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",  # Teredo
        "2002:7f00:1::",
        "64:ff9b:1::7f00:1",
        "3fff::1",
    ],
)
def test_loopback_private_link_local_shared_reserved_and_metadata_addresses_are_not_public(address):
    assert not is_public(address)


@pytest.mark.parametrize("text", ["", "localhost", "2130706433", "0x7f.1", "127.1", "1.1.1.01", "1.1.1.1:80", "::1::"])
def test_what_is_no_address_is_not_public(text):
    assert not is_public(text)


@given(st.sampled_from(NOT_FOR_US).flatmap(inside))
def test_no_address_of_a_special_network_is_public(address):
    assert not is_public(str(address))


@given(st.one_of(FOURS, SIXES))
def test_what_python_knows_to_be_special_is_not_public(address):
    inner = ip_address(int(address) & 0xFFFF_FFFF) if address in IPv6Network("64:ff9b::/96") else address
    mapped = getattr(address, "ipv4_mapped", None)
    one = mapped or inner
    if one.is_private or one.is_loopback or one.is_link_local or one.is_multicast or one.is_reserved:
        assert not is_public(str(address))


@given(FOURS)
@example(IPv4Address("127.0.0.1"))
@example(IPv4Address("1.1.1.1"))
def test_an_ipv4_address_inside_ipv6_is_as_public_as_it_is_by_itself(address):
    expected = is_public(str(address))
    assert is_public(f"::ffff:{address}") == expected
    assert is_public(f"64:ff9b::{address}") == expected


@given(FOURS)
def test_no_6to4_address_is_public_whatever_is_inside(address):
    high, low = int(address) >> 16, int(address) & 0xFFFF
    assert not is_public(f"2002:{high:x}:{low:x}::1")
