# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packages as a source of files, without asking a mirror."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from ansible_collections.benito.testbed.plugins.module_utils import debian_packages as debian

STANZA = """Package: {name}
Version: 1:2.0-1
Section: {section}
Depends: {depends}
Description: a package
 Depends: nothing, this is text
SHA256: {sum}
"""


def stanza(name: str, depends: str = "", section: str = "libs") -> str:
    return STANZA.format(name=name, depends=depends, section=section, sum=name * 4)


def test_dependencies_by_name_first_alternative() -> None:
    assert debian.names_of("libc6 (>= 2.34), debconf (>= 0.5) | debconf-2.0, libstdc++6,libc6") == ("libc6", "debconf", "libstdc++6")


def test_stanzas_first_of_a_name_wins() -> None:
    found = debian.read_packages(stanza("one", "libc6") + "\n" + stanza("two") + "\n" + stanza("one", "other"))
    assert list(found) == ["one", "two"]
    assert found["one"] == debian.Package("one", "1:2.0-1", "libs", ("libc6",), "oneoneoneone")


def test_only_libraries_are_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    known = debian.read_packages(
        "\n".join(
            [
                stanza("tool", "liba, adduser", "net"),
                stanza("liba", "libb"),
                stanza("libb", "liba"),
                stanza("adduser", "libperl", "admin"),
                stanza("libperl"),
            ]
        )
    )
    monkeypatch.setattr(debian, "describe", lambda names: {name: known[name] for name in names if name in known})
    assert sorted(debian.with_libraries(["tool"])) == ["liba", "libb", "tool"]
    with pytest.raises(debian.PackageError, match="apt knows no package nosuch: run apt-get update"):
        debian.with_libraries(["tool", "nosuch"])


def test_a_download_that_is_not_what_was_promised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(command: list[str], cwd: Path) -> str:
        (cwd / "one_2.0_amd64.deb").write_bytes(b"something else")
        return ""

    monkeypatch.setattr(debian, "run", fetch)
    package = debian.Package("one", "2.0", "libs", (), "0" * 64)
    with pytest.raises(debian.PackageError, match="not what apt's lists promise: one"):
        debian.download({"one": package}, tmp_path)


def test_commands_that_fail_or_are_missing() -> None:
    with pytest.raises(debian.PackageError, match="sh failed: E: no space"):
        debian.run(["sh", "-c", "echo warning >&2; echo 'E: no space' >&2; exit 1"])
    with pytest.raises(debian.PackageError, match="no-such-command cannot be run"):
        debian.run(["no-such-command"])


@pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="dpkg-deb is not here")
def test_files_of_a_package(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN/control").write_text("Package: p\nVersion: 1\nArchitecture: all\nMaintainer: nobody <n@example.org>\nDescription: p\n")
    (tree / "usr").mkdir()
    (tree / "usr/wanted").write_text("content")
    (tree / "usr/other").write_text("other")
    package = tmp_path / "p.deb"
    subprocess.run(["dpkg-deb", "--build", str(tree), str(package)], check=True, capture_output=True)
    assert list(debian.read_files(package, lambda name: name == "usr/wanted")) == [("usr/wanted", b"content")]
    debian.extract(package, tmp_path / "out")
    assert (tmp_path / "out/usr/other").read_text() == "other"
    package.write_bytes(b"no package")
    with pytest.raises(debian.PackageError, match="cannot be unpacked"):
        list(debian.read_files(package, lambda name: True))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("E: Failed to fetch http://user:secret@mirror.example/debian/x", "E: Failed to fetch http://mirror.example/debian/x"),
        ("socks5h://secret@proxy:1080 and https://a:b%40c@d.example/e@f", "socks5h://proxy:1080 and https://d.example/e@f"),
        ("mail to someone@example.org", "mail to someone@example.org"),
    ],
)
def test_errors_show_no_passwords(text: str, shown: str) -> None:
    assert debian.last_words(text) == shown
