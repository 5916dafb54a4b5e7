"""Which addresses may be connected to on somebody else's word, how servers and keys are spelled,
and what an origin is. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
)
from typing import TypeAlias
from urllib.parse import urlsplit

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

CLOSED_4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network; 0.0.0.0 connects to this machine
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT; a cloud has its metadata there
        "127.0.0.0/8",
        "168.63.129.16/32",  # a cloud's metadata, at an address that looks public
        "169.254.0.0/16",  # link-local, and the metadata of most clouds
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)
"""IANA's special-purpose registry, and where clouds keep credentials."""

PUBLIC_6 = IPv6Network("2000::/3")
"""All that was ever given out. Loopback, private, link-local and multicast lie outside."""
CLOSED_6 = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocols: Teredo, which hides an IPv4 address, is one
        "2001:db8::/32",
        "2002::/16",  # 6to4, which hides one, too
        "3fff::/20",
    )
)
WRAPPINGS = (IPv6Network("::ffff:0:0/96"), IPv6Network("64:ff9b::/96"))
"""The last 32 bits are an IPv4 address, which is what is reached: mapped, and NAT64. (Networks
that have only IPv6 reach public servers by the latter.)"""

PORTS = {"http": 80, "https": 443}


def is_open(address: str, allowed: Sequence[Network] = ()) -> bool:
    """Returns True if an address is public, or in a network that is allowed. An address in an
    unusual spelling (`0177.1`) is neither."""
    try:
        given = ip_address(address)
    except ValueError:
        return False
    meant = _meant(given)
    if any(one in network for network in allowed for one in (given, meant)):
        return True
    if isinstance(meant, IPv4Address):
        return not any(meant in network for network in CLOSED_4)
    return meant in PUBLIC_6 and not any(meant in network for network in CLOSED_6)


def _meant(address: Address) -> Address:
    if isinstance(address, IPv6Address) and any(address in wrapping for wrapping in WRAPPINGS):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def origin(url: str) -> str:
    """`https://agents.example.com:443`: one spelling for whatever means the same place. Raises
    ValueError."""
    parts = urlsplit(url)
    if parts.scheme not in PORTS or not parts.hostname or "@" in parts.netloc:
        raise ValueError("no origin")
    host = parts.hostname
    if ":" in host:
        host = f"[{ip_address(host).compressed}]"
    return f"{parts.scheme}://{host}:{parts.port or PORTS[parts.scheme]}"


def is_server(text: str, *schemes: str) -> bool:
    """Returns True for the address of a server with one of these schemes."""
    try:
        url = urlsplit(text)
        return url.scheme in schemes and bool(url.hostname) and url.port != 0
    except ValueError:
        return False


def is_base(text: str) -> bool:
    """Returns True for the address of an HTTP API to which a path can be added."""
    return is_server(text, "http", "https") and not set(text) & set("@?#")


def is_key(text: str) -> bool:
    """Returns True if the text can be sent as a bearer's key."""
    return text.isascii() and text.isprintable() and " " not in text


_PAGE = re.compile(r"([a-z][a-z0-9+.-]*)://([a-z0-9_.-]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?")


def page_origin(text: str) -> str:
    """An origin as browsers send it: in lower case, without the port that its scheme implies.
    `chrome-extension://…` and the like are origins, too. Raises ValueError."""
    found = _PAGE.fullmatch(text.lower())
    if found is None:
        raise ValueError("no origin")
    scheme, host, port = found.groups()
    if port is None or int(port) == PORTS.get(scheme):
        return f"{scheme}://{host}"
    if int(port) > 65535:
        raise ValueError("no port")
    return f"{scheme}://{host}:{int(port)}"
