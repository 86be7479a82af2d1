"""Who is at the other end of a request: its address and user agent. Pure."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from ipaddress import IPv4Network, IPv6Network

MAX_USER_AGENT = 512


class Client(msgspec.Struct, frozen=True):
    """An address, empty when only a proxy knows it, and a user agent."""

    address: str
    user_agent: str


def client_of(
    scope: Mapping[str, Any], headers: Mapping[bytes, bytes], proxies: Sequence[IPv4Network | IPv6Network]
) -> Client:
    """The client of a request. What X-Forwarded-For says counts only as far as trusted proxies wrote it; behind
    a proxy that is not trusted the address is unknown."""
    user_agent = headers.get(b"user-agent", b"").decode("latin-1")[:MAX_USER_AGENT]
    address = (scope.get("client") or ("",))[0]
    forwarded = headers.get(b"x-forwarded-for", b"").decode("latin-1")
    if not forwarded:
        return Client(address, user_agent)
    hops = [part.strip() for part in forwarded.split(",")] + [address]
    while len(hops) > 1 and _trusted(hops[-1], proxies):
        hops.pop()
    through_strangers = hops[-1] == address
    return Client("" if through_strangers else hops[-1][:64], user_agent)


def _trusted(address: str, proxies: Sequence[IPv4Network | IPv6Network]) -> bool:
    try:
        found = ip_address(address)
    except ValueError:
        return False
    return any(found in network for network in proxies)
