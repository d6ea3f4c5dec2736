"""Which IP addresses are the open Internet's: the only ones that the server goes to on a caller's behalf. Pure.

Source: IANA's special-purpose address registries for IPv4 and IPv6, and address space for IPv6, read 2026-11. Python's
``is_global`` follows them too, but with another table in each of its releases.
"""

from ipaddress import AddressValueError, IPv4Address, IPv4Network, IPv6Address, IPv6Network

_CLOSED_4 = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",  # this host
            "10.0.0.0/8",
            "100.64.0.0/10",  # shared by a carrier's customers; Alibaba's metadata
            "127.0.0.0/8",
            "168.63.129.16/32",  # Azure's own services, as each of its machines sees them
            "169.254.0.0/16",  # link-local; most clouds' metadata
            "172.16.0.0/12",
            "192.0.0.0/24",  # protocols' own; Oracle's metadata
            "192.0.2.0/24",  # documentation
            "192.88.99.0/24",  # relays of 6to4
            "192.168.0.0/16",
            "198.18.0.0/15",  # benchmarks
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, and the broadcast
        ),
    )
)
_OPEN_6 = IPv6Network("2000::/3")
_CLOSED_6 = tuple(
    map(
        IPv6Network,
        (
            "2001::/23",  # protocols' own: Teredo, ORCHID, benchmarks
            "2001:db8::/32",  # documentation
            "2002::/16",  # 6to4: an IPv4 address inside, by way of anybody's relay
            "3fff::/20",  # documentation
        ),
    )
)
_NAT64 = IPv6Network("64:ff9b::/96")


def is_public(address: str) -> bool:
    """Whether ``address`` is a public unicast one. What is no address is not; an IPv4 address inside IPv6 counts."""
    try:
        if ":" not in address:
            return _is_public_4(IPv4Address(address))
        parsed = IPv6Address(address)
    except AddressValueError:
        return False
    if parsed.ipv4_mapped is not None or parsed in _NAT64:
        return _is_public_4(IPv4Address(int(parsed) & 0xFFFF_FFFF))
    return parsed in _OPEN_6 and not any(parsed in network for network in _CLOSED_6)


def _is_public_4(address: IPv4Address) -> bool:
    return not any(address in network for network in _CLOSED_4)
