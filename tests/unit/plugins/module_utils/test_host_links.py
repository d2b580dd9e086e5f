# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bridges and TAPs, made in a network of the test's own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from ansible_collections.benito.testbed.plugins.module_utils import host_links
from ansible_collections.benito.testbed.plugins.module_utils.host_links import LinkError

MARK = "/tmp/bn:lab/demo"
Run = Callable[[Callable[[], None]], None]


def test_a_tool_that_refuses_is_quoted() -> None:
    with pytest.raises(LinkError, match=r"^sh -c echo no way >&2; echo more >&2; exit 2: no way$"):
        host_links.run(["sh", "-c", "echo no way >&2; echo more >&2; exit 2"])
    with pytest.raises(LinkError, match=r"^false: exit status 1$"):
        host_links.run(["false"])
    with pytest.raises(LinkError, match="no-such-tool"):
        host_links.run(["no-such-tool"])


def test_a_tool_that_works(monkeypatch: pytest.MonkeyPatch) -> None:
    def timing_out(argv: list[str], **options: object) -> None:
        raise subprocess.TimeoutExpired(argv, 60)

    assert host_links.run(["cat"], "text\n") == "text\n"
    monkeypatch.setattr(host_links.subprocess, "run", timing_out)
    with pytest.raises(LinkError, match="timed out"):
        host_links.run(["ip", "link"])


def test_links_that_are_not_there() -> None:
    assert not host_links.exists("bnnothing")
    assert host_links.alias("bnnothing") == ""
    assert host_links.master("bnnothing") == ""
    host_links.delete("bnnothing")


def test_a_bridge(own_network: Run) -> None:
    def inside() -> None:
        host_links.add_bridge("bn0", "172.20.5.1/24", MARK)
        [link] = host_links.links("dev", "bn0")
        assert link["linkinfo"]["info_kind"] == "bridge"
        assert "UP" in link["flags"]
        assert host_links.addresses("bn0") == ["172.20.5.1/24"]
        assert host_links.alias("bn0") == MARK
        assert host_links.marked(MARK) == ["bn0"]
        assert host_links.marked(f"{MARK}x") == []
        conf = Path("/proc/sys/net/ipv6/conf/bn0/disable_ipv6")
        assert not conf.exists() or conf.read_text() == "1\n"
        index = link["ifindex"]
        host_links.add_bridge("bn0", "172.20.6.1/24", MARK)
        assert host_links.addresses("bn0") == ["172.20.6.1/24"]
        assert host_links.links("dev", "bn0")[0]["ifindex"] == index
        host_links.delete("bn0")
        host_links.delete("bn0")
        assert host_links.marked(MARK) == []

    own_network(inside)


def test_a_tap(own_network: Run) -> None:
    def inside() -> None:
        host_links.add_bridge("bn0", "172.20.5.1/24", MARK)
        host_links.add_bridge("bn1", "172.20.6.1/24", MARK)
        host_links.add_tap("bntap", "bn0", MARK)
        assert host_links.master("bntap") == "bn0"
        assert host_links.alias("bntap") == MARK
        assert "isolated on" in host_links.run(["bridge", "-d", "link", "show", "dev", "bntap"])
        host_links.add_tap("bntap", "bn1", MARK)
        assert host_links.master("bntap") == "bn1"
        assert host_links.marked(MARK) == ["bn0", "bn1", "bntap"]

    own_network(inside)


def test_links_of_others_are_left_alone(own_network: Run) -> None:
    def inside() -> None:
        for name in ("bn0", "bntap"):
            subprocess.run(["ip", "link", "add", name, "type", "bridge"], check=True)
        before = host_links.run(["ip", "link", "show"])
        with pytest.raises(LinkError, match="there is an interface bn0 already which is not ours"):
            host_links.add_bridge("bn0", "172.20.5.1/24", MARK)
        with pytest.raises(LinkError, match="there is an interface bntap already which is not ours"):
            host_links.add_tap("bntap", "bn0", MARK)
        assert host_links.run(["ip", "link", "show"]) == before

    own_network(inside)


def test_an_open_tap(own_network: Run) -> None:
    def inside() -> None:
        host_links.add_bridge("bn0", "172.20.5.1/24", MARK)
        host_links.add_tap("bntap", "bn0", MARK)
        handle = host_links.open_tap("bntap")
        assert handle >= host_links.TAP_HANDLE
        assert not os.get_inheritable(handle)
        assert "iff:\tbntap" in Path(f"/proc/self/fdinfo/{handle}").read_text()
        with pytest.raises(LinkError, match="cannot open the interface bntap: Device or resource busy"):
            host_links.open_tap("bntap")
        os.close(handle)

    own_network(inside)


def test_a_link_that_goes_by_itself_is_gone_too(monkeypatch: pytest.MonkeyPatch) -> None:
    there = iter([True, False, True, True])
    monkeypatch.setattr(host_links, "exists", lambda name: next(there))

    def refuse(argv: list[str], text: str | None = None) -> str:
        raise LinkError("Cannot find device")

    monkeypatch.setattr(host_links, "run", refuse)
    host_links.delete("veth0")
    with pytest.raises(LinkError):
        host_links.delete("veth0")


def test_a_setting_that_the_kernel_lacks_is_no_error_and_one_that_it_refuses_is() -> None:
    assert host_links.setting("ipv4/conf/no-such-link/rp_filter") == ""
    host_links.change_setting("ipv4/conf/no-such-link/rp_filter", "0")
    with pytest.raises(LinkError, match="cannot be set to much"):
        host_links.change_setting("ipv4/conf/lo/rp_filter", "much")
    assert host_links.setting("ipv4/conf/lo/rp_filter").isdigit()
