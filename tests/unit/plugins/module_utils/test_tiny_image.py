# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tiny image's builder, without packages: its cache, its kernel, and what it must never write."""

from __future__ import annotations

import errno
import gzip
import json
import lzma
import os
import re
import struct
from pathlib import Path

import pytest

from ansible_collections.benito.testbed.plugins.module_utils import debian_packages as debian
from ansible_collections.benito.testbed.plugins.module_utils import image_parts as parts
from ansible_collections.benito.testbed.plugins.module_utils import image_store as store
from ansible_collections.benito.testbed.plugins.module_utils import tiny_image as tiny

GUEST = Path(__file__).resolve().parents[4] / "roles/qemu_guest/files/guest"
ELF = b"\x7fELF" + bytes(range(200)) * 20
PACKAGES = {"one": debian.Package("one", "1.0", "libs", (), "aa")}


def bzimage(payload: bytes) -> bytes:
    """Return the smallest thing that looks like a bzImage with this payload."""
    setup = bytearray(1024)
    setup[0x1F1] = 1
    setup[0x1FE:0x200] = b"\x55\xaa"
    setup[0x202:0x206] = b"HdrS"
    struct.pack_into("<II", setup, 0x248, 16, len(payload))
    return bytes(setup) + bytes(16) + payload + b"signature"


def texts(directory: Path) -> dict[str, str]:
    """Return the files of a directory as a play hands them to the module."""
    return {path.name: path.read_text() for path in directory.iterdir()}


@pytest.fixture
def guest_files(tmp_path: Path) -> Path:
    directory = tmp_path / "guest"
    directory.mkdir()
    for name in tiny.GUEST_FILES:
        (directory / name).write_text(name)
    return directory


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replace what needs a mirror; return the list of keys that were built."""
    built: list[str] = []

    def build(cache: Path, key: str, guest_files: Path, packages: dict[str, debian.Package]) -> store.Image:
        built.append(key)
        place = cache / f"tiny-{key}"
        place.mkdir(exist_ok=True)
        (place / "vmlinux").write_bytes(ELF)
        (place / "initramfs").write_bytes(b"cpio")
        sizes = {"vmlinux": len(ELF), "initramfs": 4}
        manifest = {"release": "6.1", "arguments": "a", "packages": store.listing(packages), "sizes": sizes}
        (place / "manifest.json").write_text(json.dumps(manifest))
        return store.Image(place, key, "6.1", store.listing(packages), "a")

    monkeypatch.setattr(tiny, "build", build)
    monkeypatch.setattr(tiny, "wanted_packages", lambda: dict(PACKAGES))
    return built


def test_the_files_of_this_collection_are_all_there() -> None:
    assert re.fullmatch("[0-9a-f]{12}", tiny.recipe_key(tiny.take_files(texts(GUEST))))


def test_the_key_follows_the_guest_files(guest_files: Path) -> None:
    before = tiny.recipe_key(tiny.take_files(texts(guest_files)))
    assert tiny.recipe_key(tiny.take_files(texts(guest_files))) == before
    (guest_files / "benito-agent").write_text("another")
    assert tiny.recipe_key(tiny.take_files(texts(guest_files))) != before
    (guest_files / "init").unlink()
    with pytest.raises(debian.PackageError, match="files lack init: give"):
        tiny.recipe_key(tiny.take_files(texts(guest_files)))


def test_an_image_is_built_once(tmp_path: Path, guest_files: Path, builds: list[str]) -> None:
    cache = tmp_path / "cache"
    image, changed = tiny.ensure(cache, tiny.take_files(texts(guest_files)))
    assert changed
    assert tiny.ensure(cache, tiny.take_files(texts(guest_files))) == (image, False)
    assert builds == [image.key]


def test_an_image_has_the_files_that_its_key_speaks_of(
    tmp_path: Path, guest_files: Path, builds: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[bytes] = []
    build = tiny.build

    def build_late(cache: Path, key: str, files: dict[str, bytes], packages: dict[str, debian.Package]) -> store.Image:
        (guest_files / "benito-agent").write_text("changed meanwhile")
        built.append(files["benito-agent"])
        return build(cache, key, files, packages)

    monkeypatch.setattr(tiny, "build", build_late)
    before = (guest_files / "benito-agent").read_bytes()
    image, dummy = tiny.ensure(tmp_path, tiny.take_files(texts(guest_files)))
    assert built == [before]
    assert image.key != tiny.recipe_key(tiny.take_files(texts(guest_files)))


def test_a_damaged_image_is_built_again(tmp_path: Path, guest_files: Path, builds: list[str]) -> None:
    image, dummy = tiny.ensure(tmp_path, tiny.take_files(texts(guest_files)))
    image.initrd.write_bytes(b"")
    assert store.find(tmp_path, "tiny", image.key) is None
    assert tiny.ensure(tmp_path, tiny.take_files(texts(guest_files)))[1]
    assert len(builds) == 2


def test_refresh_builds_for_newer_packages_only(
    tmp_path: Path, guest_files: Path, builds: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.ensure(tmp_path, tiny.take_files(texts(guest_files)))
    assert not tiny.ensure(tmp_path, tiny.take_files(texts(guest_files)), refresh=True)[1]
    newer = {"one": debian.Package("one", "1.1", "libs", (), "bb")}
    monkeypatch.setattr(tiny, "wanted_packages", lambda: newer)
    assert not tiny.ensure(tmp_path, tiny.take_files(texts(guest_files)))[1]
    image, changed = tiny.ensure(tmp_path, tiny.take_files(texts(guest_files)), refresh=True)
    assert changed
    assert image.packages[0]["version"] == "1.1"


def test_what_a_crashed_builder_left_is_cleared(tmp_path: Path, guest_files: Path, builds: list[str]) -> None:
    (tmp_path / ".tiny-0123.abc/root").mkdir(parents=True)
    image, dummy = tiny.ensure(tmp_path, tiny.take_files(texts(guest_files)))
    assert sorted(os.listdir(tmp_path)) == [".lock", "guest", image.path.name]
    assert store.remove(tmp_path, "tiny", tiny.recipe_key(tiny.take_files(texts(guest_files))))
    assert not store.remove(tmp_path, "tiny", tiny.recipe_key(tiny.take_files(texts(guest_files))))
    assert sorted(os.listdir(tmp_path)) == [".lock", "guest"]


def test_a_full_disk_is_said(tmp_path: Path, guest_files: Path, builds: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> store.Image:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tiny, "build", full)
    with pytest.raises(debian.PackageError, match="no space left to build an image in"):
        tiny.ensure(tmp_path, tiny.take_files(texts(guest_files)))


def test_nothing_is_copied_out_of_the_root(tmp_path: Path) -> None:
    root, victim = tmp_path / "root", tmp_path / "host"
    root.mkdir()
    victim.mkdir()
    (victim / "ld.so").write_text("the host's own")
    (tmp_path / "file").write_text("the image's")
    (root / "lib64").symlink_to(victim)
    (root / "busybox").symlink_to(victim / "ld.so")
    for name in (str(victim / "ld.so"), "../host/ld.so", "lib64/ld.so", "busybox"):
        with pytest.raises(debian.PackageError, match="outside of the image"):
            parts.copy(tmp_path / "file", root, name)
    assert (victim / "ld.so").read_text() == "the host's own"
    parts.copy(tmp_path / "file", root, "usr/lib/file", 0o755)
    assert (root / "usr/lib/file").read_text() == "the image's"


def test_the_linker_itself_is_no_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "libc6/lib/x86_64-linux-gnu"
    place.mkdir(parents=True)
    (place / "ld-linux-x86-64.so.2").touch()
    unpacked = parts.Unpacked(tmp_path)
    shown = f"\tlinux-vdso.so.1 (0x1)\n\tlibc.so.6 => {place}/libc.so.6 (0x2)\n\t/lib64/ld-linux-x86-64.so.2 => {place}/ld.so (0x3)\n"
    monkeypatch.setattr(debian, "run", lambda command: shown)
    assert unpacked.needed(tmp_path / "ip") == {"libc.so.6": place / "libc.so.6"}
    monkeypatch.setattr(debian, "run", lambda command: "\tlibx.so.1 => /usr/lib/libx.so.1 (0x2)\n")
    with pytest.raises(debian.PackageError, match=re.escape("ip needs the library libx.so.1")):
        unpacked.needed(tmp_path / "ip")


@pytest.mark.parametrize("payload", [ELF, gzip.compress(ELF) + b"size", lzma.compress(ELF) + b"size"], ids=["plain", "gzip", "xz"])
def test_kernels_are_unpacked(payload: bytes) -> None:
    assert parts.unpack_kernel(bzimage(payload)) == ELF


def test_kernels_that_cannot_be_unpacked() -> None:
    with pytest.raises(debian.PackageError, match="a way not known here"):
        parts.unpack_kernel(bzimage(b"LZOP" + ELF))
    with pytest.raises(debian.PackageError, match="no ELF file"):
        parts.unpack_kernel(bzimage(gzip.compress(b"something else")))
    with pytest.raises(debian.PackageError, match="no bzImage"):
        parts.unpack_kernel(bytes(2048))


def test_modules_bring_what_they_depend_on() -> None:
    modules = {
        "drivers/net/virtio_net": b"\0depends=net_failover,virtio-ring\0",
        "drivers/net/net_failover": b"\0depends=failover\0",
        "net/core/failover": b"\0depends=\0",
        "drivers/virtio/virtio_ring": b"\0license=GPL\0",
        "net/other": b"\0depends=\0",
    }
    wanted = re.compile("drivers/net/virtio_net")
    assert parts.with_dependencies(modules, wanted) == sorted(set(modules) - {"net/other"})
    del modules["net/core/failover"]
    with pytest.raises(debian.PackageError, match="needs failover"):
        parts.with_dependencies(modules, wanted)


def test_set_aside_files_are_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, extra = tmp_path / "root", tmp_path / "extra"
    monkeypatch.setattr(tiny, "PROGRAMS", {"usr/bin/busybox": "", "usr/bin/tcpdump": ""})
    for name in ("usr/bin/busybox", "usr/bin/tcpdump", "usr/lib/modules/6.1/kernel/loop.ko", "usr/lib/modules/6.1/modules.dep"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    tiny.set_aside(root, extra, {"usr/bin/busybox", "usr/lib/modules/6.1/kernel/loop.ko"})
    assert os.readlink(root / "usr/bin/tcpdump") == "/usr/extra/usr/bin/tcpdump"
    assert [str(path.relative_to(extra)) for path in extra.rglob("*") if path.is_file()] == ["usr/bin/tcpdump"]


def test_every_time_is_fixed_and_names_are_sorted(tmp_path: Path) -> None:
    for name in ("b/z", "b/a", "a"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "c").symlink_to("a")
    assert parts.fix_times(tmp_path) == [".", "a", "b", "b/a", "b/z", "c"]
    assert {os.lstat(tmp_path / name).st_mtime for name in ("b", "b/a", "c")} == {0.0}
