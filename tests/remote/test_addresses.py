"""Which addresses are open, and what an origin is."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.network.addresses import is_open, origin

OPEN = (
    "8.8.8.8",
    "1.1.1.1",
    "100.63.255.255",
    "100.128.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.167.255.255",
    "223.255.255.255",
    "2606:4700:4700::1111",
    "2a00:1450:4001::1",
    "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",
)
CLOSED = (
    "0.0.0.0",  # noqa: S104
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.100.100.200",
    "100.127.255.255",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::8.8.8.8",
    "::127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::127.0.0.1",
    "64:ff9b::a00:1",
    "64:ff9b:1::8.8.8.8",
    "100::1",
    "2001::1",
    "2001:0:808:808::1",
    "2001:db8::1",
    "2002:7f00:1::1",
    "2002:808:808::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%lo",
    "fec0::1",
    "ff02::1",
)
ODD = (
    "",
    "localhost",
    "0177.0.0.1",
    "0x7f.0.0.1",
    "127.1",
    "127.0.0.01",
    "2130706433",
    "0x7f000001",
    "017700000001",
    "8.8.8.8 ",
    "8.8.8",
    "8.8.8.8.",
    "[::1]",
    "\u0661.1.1.1",
)


@pytest.mark.parametrize("address", OPEN)
def test_what_is_public_is_open(address: str) -> None:
    assert is_open(address)


@pytest.mark.parametrize("address", CLOSED + ODD)
def test_all_else_is_closed(address: str) -> None:
    assert not is_open(address)


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("10.1.2.3", "10.1.0.0/16"),
        ("127.0.0.1", "127.0.0.1/32"),
        ("::ffff:10.1.2.3", "10.1.0.0/16"),
        ("::1", "::1/128"),
        ("fd00::7", "fd00::/8"),
    ],
)
def test_what_is_allowed_is_open(address: str, network: str) -> None:
    assert is_open(address, [ip_network("192.168.0.0/16"), ip_network(network)])
    assert not is_open(address, [ip_network("192.168.0.0/16")])


@pytest.mark.parametrize("address", ODD)
def test_an_odd_spelling_is_never_allowed(address: str) -> None:
    assert not is_open(address, [ip_network("0.0.0.0/0"), ip_network("::/0")])


@given(st.ip_addresses(v=4))
def test_every_ipv4_address_that_is_open_is_global(address: IPv4Address) -> None:
    if is_open(str(address)):
        assert address.is_global
        assert not any((address.is_multicast, address.is_reserved, address.is_unspecified))


@given(st.ip_addresses(v=6))
def test_every_ipv6_address_that_is_open_is_global(address: IPv6Address) -> None:
    if is_open(str(address)) and address.ipv4_mapped is None:
        assert address.is_global or address in ip_network("64:ff9b::/96")
        assert not any((address.is_multicast, address.sixtofour, address.teredo))


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_as_open_inside_of_an_ipv6_one(address: IPv4Address) -> None:
    for wrapped in (f"::ffff:{address}", f"64:ff9b::{address}"):
        assert is_open(wrapped) == is_open(str(address))


@pytest.mark.parametrize(
    ("url", "spelled"),
    [
        ("https://Agents.Example.com/api/agents/1", "https://agents.example.com:443"),
        ("http://10.0.0.1:80", "http://10.0.0.1:80"),
        ("http://[0:0:0:0:0:0:0:1]:8080/", "http://[::1]:8080"),
    ],
)
def test_an_origin_has_one_spelling(url: str, spelled: str) -> None:
    assert origin(url) == spelled


@pytest.mark.parametrize("url", ["ftp://x", "https://", "x", "https://u@x", "https://x:99999"])
def test_what_is_no_origin_is_said_so(url: str) -> None:
    with pytest.raises(ValueError):
        origin(url)
