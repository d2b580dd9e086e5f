# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fewer, larger prefixes that forward exactly as the networks they stand for.

Two sibling prefixes are merged only when networks of the experiment fill both, so that a summary never covers an address that
belongs to none of them. Networks are numbered from 0 in the order of their addresses, and a set of networks is a bit set: an integer
with bit N set for network N.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network


class Summaries:
    """Every prefix that networks of one experiment fill without a gap."""

    def __init__(self, networks: Sequence[IPv4Network]) -> None:
        """Take the networks in the order of (address, prefix length)."""
        # For each network the prefixes that begin with it, the smallest first, as (number of the first network behind it, prefix).
        self._prefixes: list[list[tuple[int, str]]] = [[(number + 1, str(network))] for number, network in enumerate(networks)]
        filled: list[dict[int, tuple[int, int]]] = [{} for dummy in range(33)]  # for each length: address -> range of network numbers
        for number, network in enumerate(networks):
            end = number + 1
            while end < len(networks) and networks[end].network_address <= network.broadcast_address:
                end += 1  # a network inside this one
            if end > number + 1:
                self._prefixes[number].append((end, str(network)))
            filled[network.prefixlen][int(network.network_address)] = (number, end)
        for length in range(32, 0, -1):
            bit = 1 << (32 - length)
            for address, (start, dummy) in filled[length].items():
                if address & bit or address | bit not in filled[length] or address in filled[length - 1]:
                    continue
                end = filled[length][address | bit][1]
                filled[length - 1][address] = (start, end)
                self._prefixes[start].append((end, f"{IPv4Address(address)}/{length - 1}"))

    def explicit(self, networks: int) -> Iterator[tuple[int, str]]:
        """Yield (number, prefix) of each network of a set."""
        while networks:
            number = (networks & -networks).bit_length() - 1
            networks &= networks - 1
            yield number, self._prefixes[number][0][1]

    def summarised(self, networks: int) -> Iterator[tuple[int, str]]:
        """Yield (number of its first network, prefix) for the fewest prefixes that stand for exactly this set."""
        for start, end in _runs(networks):
            while start < end:
                behind, prefix = [found for found in self._prefixes[start] if found[0] <= end][-1]
                yield start, prefix
                start = behind


def _runs(bits: int) -> Iterator[tuple[int, int]]:
    """Yield the (start, end) of each run of set bits."""
    start = 0
    while bits:
        zeros = (bits & -bits).bit_length() - 1
        bits >>= zeros
        ones = (~bits & (bits + 1)).bit_length() - 1
        bits >>= ones
        start += zeros
        yield start, start + ones
        start += ones
