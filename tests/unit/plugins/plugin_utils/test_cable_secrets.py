# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""A secret for each cable, the same at both ends, and nothing about the others."""

from __future__ import annotations

import pytest

from ansible_collections.benito.testbed.plugins.plugin_utils.cable_secrets import cable_secrets

SECRET, OTHER = "5e" * 32, "5f" * 32


def cables(*ids: str, transport: str = "tcp") -> list[dict[str, str]]:
    return [{"id": id_, "transport": transport} for id_ in ids]


def test_both_ends_get_the_same_and_each_cable_its_own() -> None:
    found = cable_secrets(cables("a", "b"), f"{SECRET}\n")
    assert found == {**cable_secrets(cables("b", transport="udp"), SECRET), **cable_secrets(cables("a"), SECRET)}
    assert len({*found.values(), *cable_secrets(cables("a", "b"), OTHER).values(), SECRET}) == 5
    assert all(len(bytes.fromhex(secret)) == 32 for secret in found.values())


@pytest.mark.parametrize("transport", ["ssh", "vxlan", "ethernet"])
def test_a_transport_that_proves_nothing_has_none(transport: str) -> None:
    assert cable_secrets(cables("a", transport=transport), SECRET) == {}


def test_without_the_experiments_secret_there_is_none() -> None:
    assert cable_secrets(cables("a"), "") == {}


@pytest.mark.parametrize("secret", ["x", SECRET[1:], SECRET.upper(), SECRET + "0", "0" * 63 + "g"])
def test_a_secret_that_is_none_is_refused_without_being_said(secret: str) -> None:
    with pytest.raises(ValueError, match="64 hexadecimal digits") as caught:
        cable_secrets(cables("a"), secret)
    assert secret == "x" or secret not in str(caught.value)
