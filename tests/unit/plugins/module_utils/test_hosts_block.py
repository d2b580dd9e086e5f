# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""A block in a hosts file comes and goes, and the rest of the file stays as it is, to the byte."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.benito.testbed.plugins.module_utils.errors import HostError
from ansible_collections.benito.testbed.plugins.module_utils.guest import Guest
from ansible_collections.benito.testbed.plugins.module_utils.guest_config import host_names
from ansible_collections.benito.testbed.plugins.module_utils.hosts_block import drop, foreign, known_otherwise, put, qualified, text
from ansible_collections.benito.testbed.plugins.module_utils.rundir import RunDir

MARK, OTHER = "/var/lib/benito:lab/demo", "/var/lib/benito:lab/demo2"
CONTENT = st.lists(st.sampled_from([b"127.0.0.1 localhost", b"", b"# began nothing", b"\xff\xfe", b"x", b"a\r"])).map(b"\n".join)


@given(content=CONTENT, ended=st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_it_goes_as_it_came(root: str, tmp_path: Path, content: bytes, ended: bool) -> None:
    path = tmp_path / "hosts"
    before = content + b"\n" if ended else content
    path.write_bytes(before)
    for mark, names in ((MARK, "10.0.0.1\ta\n"), (OTHER, "10.0.0.1\tb\n"), (MARK, "10.0.0.2\tc\n")):
        assert put(root, mark, names, str(path))
        assert not put(root, mark, names, str(path))
    assert (text(MARK, str(path)), text(OTHER, str(path))) == ("10.0.0.2\tc\n", "10.0.0.1\tb\n")
    assert drop(root, OTHER, str(path))
    assert text(MARK, str(path)) == "10.0.0.2\tc\n"
    assert drop(root, MARK, str(path))
    assert not drop(root, MARK, str(path))
    assert path.read_bytes() == before


def test_the_first_to_come_may_be_the_first_to_go(root: str, tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_bytes(b"127.0.0.1 localhost")
    put(root, MARK, "10.0.0.1\ta\n", str(path))
    put(root, OTHER, "10.0.0.1\tb\n", str(path))
    drop(root, MARK, str(path))
    assert text(OTHER, str(path)) == "10.0.0.1\tb\n"
    drop(root, OTHER, str(path))
    assert path.read_bytes() == b"127.0.0.1 localhost"


def test_what_others_write_meanwhile_stays(root: str, tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_bytes(b"127.0.0.1 localhost\n")
    put(root, MARK, "10.0.0.1\ta\n", str(path))
    path.write_bytes(b"192.0.2.1 first\n" + path.read_bytes() + b"192.0.2.2 last\n")
    drop(root, MARK, str(path))
    assert path.read_bytes() == b"192.0.2.1 first\n127.0.0.1 localhost\n192.0.2.2 last\n"


def test_a_block_that_lost_its_end_takes_nothing_with_it(root: str, tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_bytes(f"127.0.0.1 localhost\n# begin of {MARK}\n192.0.2.2 last\n".encode())
    drop(root, MARK, str(path))
    assert path.read_bytes() == b"127.0.0.1 localhost\n192.0.2.2 last\n"


def test_mode_stays_and_an_absent_file_is_made(root: str, tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    assert text(MARK, str(path)) is None
    assert not drop(root, MARK, str(path))
    put(root, MARK, "10.0.0.1\ta\n", str(path))
    assert path.stat().st_mode & 0o777 == 0o644
    path.chmod(0o664)
    put(root, MARK, "10.0.0.1\tb\n", str(path))
    assert path.stat().st_mode & 0o777 == 0o664
    assert os.listdir(tmp_path) == ["hosts"]


def test_a_link_stays_a_link(root: str, tmp_path: Path) -> None:
    (tmp_path / "real").write_text("127.0.0.1 localhost\n")
    (tmp_path / "hosts").symlink_to("real")
    put(root, MARK, "10.0.0.1\ta\n", str(tmp_path / "hosts"))
    assert (tmp_path / "hosts").is_symlink()
    assert "10.0.0.1\ta" in (tmp_path / "real").read_text()


@pytest.mark.parametrize("mark", [MARK, OTHER])
def test_names_that_begin_alike_are_told_apart(root: str, tmp_path: Path, mark: str) -> None:
    path = tmp_path / "hosts"
    put(root, mark, "x\n", str(path))
    assert text(OTHER if mark == MARK else MARK, str(path)) is None


HERE = RunDir("lab", "demo", "lab.demo", "/srv/b")
NOT_PLAIN = ("deb.debian.org", "a b", "a\tb", "a\n6.6.6.6 c", "-a", "a-", "", "a" * 64, "ä", "#", "a\0")


@pytest.mark.parametrize("name", NOT_PLAIN)
def test_no_node_is_called_as_it_likes(name: str) -> None:
    table = [["n", name, 0, "10.0.0.1"], [name, "lan0", 0, "10.0.0.2"]]
    found = qualified(HERE, host_names(Guest.from_options({"name": "n"}), table))
    for line in found.splitlines():
        address, *names = line.split()
        assert address in ("10.0.0.1", "10.0.0.2")
        assert all(len(word.split(".")) == 3 and word.endswith(".demo.lab") for word in names)
    assert "n.demo.lab" in found.split()


@pytest.mark.parametrize(("project", "experiment"), [("org", "deb.debian"), ("debian.org", "deb"), ("lab", "-x")])
def test_no_experiment_is_a_domain_of_more_parts(project: str, experiment: str) -> None:
    assert qualified(RunDir(project, experiment, "x", "/srv/b"), [("10.0.0.1", ["n"])]) == ""


def test_an_address_is_one() -> None:
    with pytest.raises(HostError, match=r"6\.6\.6\.6"):
        qualified(HERE, [("10.0.0.1\n6.6.6.6 deb.debian.org", ["n"])])


def test_no_name_is_one_that_the_host_knows(root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, asked = tmp_path / "hosts", []
    path.write_text("127.0.0.1 localhost\n192.0.2.9 mirror A.demo.lab # b.demo.lab\n")

    def look_up(name: str, *more: object, **yet_more: object) -> list[tuple[object, ...]]:
        asked.append(name)
        if name == "deb.debian.org.":
            return [(2, 1, 6, "", ("151.101.2.132", 0))]
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    assert "a.demo.lab is that of 192.0.2.9" in known_otherwise(MARK, "10.0.0.1\ta.demo.lab\n", str(path))
    assert known_otherwise(MARK, "10.0.0.1\tb.demo.lab\n", str(path)) == ""
    said = known_otherwise(MARK, "10.0.0.1\ta-0.debian.org deb.debian.org\n", str(path))
    assert said.startswith("the name deb.debian.org is that of 151.101.2.132 for this host")
    # What we have written ourselves is known, whatever its address becomes.
    put(root, MARK, "10.0.0.1\tb.demo.lab\n", str(path))
    asked.clear()
    assert known_otherwise(MARK, "10.0.0.2\tb.demo.lab\n", str(path)) == ""
    assert asked == []
    # Another experiment's block is not ours.
    assert "b.demo.lab is that of 10.0.0.1" in known_otherwise(OTHER, "10.0.0.2\tb.demo.lab\n", str(path))


def test_where_no_name_server_answers_nothing_waits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = []

    def look_up(name: str, *more: object, **yet_more: object) -> list[tuple[object, ...]]:
        asked.append(name)
        raise socket.gaierror(socket.EAI_AGAIN, "try again")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    names = " ".join(f"n-{number}.demo.lab" for number in range(1000))
    assert known_otherwise(MARK, f"10.0.0.1\t{names}\n", str(tmp_path / "hosts")) == ""
    assert len(asked) == 1


def test_the_file_stays_in_its_place(root: str, tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_text("127.0.0.1 localhost\n")
    number = path.stat().st_ino
    put(root, MARK, "10.0.0.1\tb.demo.lab\n", str(path))
    put(root, OTHER, "10.0.0.1\tc.demo2.lab\n", str(path))
    assert foreign(str(path)) == b"127.0.0.1 localhost\n"
    drop(root, MARK, str(path))
    drop(root, OTHER, str(path))
    assert (path.stat().st_ino, path.read_text()) == (number, "127.0.0.1 localhost\n")
