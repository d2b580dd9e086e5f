# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The builder of the image debian, without packages: its key, its sources, what it lays out, its initramfs and its disk."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from ansible_collections.benito.testbed.plugins.module_utils import debian_image as image
from ansible_collections.benito.testbed.plugins.module_utils import debian_packages as debian
from ansible_collections.benito.testbed.plugins.module_utils import image_store as store
from ansible_collections.benito.testbed.plugins.module_utils import tiny_image as tiny

ROLES = Path(__file__).resolve().parents[4] / "roles"
GUEST = ROLES / "qemu_guest/files/guest"
SOURCE = {"file": "/etc/apt/sources.list", "uri": "http://mirror.example/debian/", "release": "bookworm", "component": "main", "key": ""}


def texts(directory: Path) -> dict[str, str]:
    """Return the files of a directory as a play hands them to the module."""
    return {path.name: path.read_text() for path in directory.iterdir()}


@pytest.fixture
def guest_files(tmp_path: Path) -> Path:
    directory = tmp_path / "guest"
    shutil.copytree(GUEST, directory)
    return directory


@pytest.fixture
def system(tmp_path: Path) -> Path:
    """What mmdebstrap leaves, as far as it matters here."""
    root = tmp_path / "root"
    for name in (
        "etc/ssh/ssh_host_rsa_key",
        "etc/ssh/ssh_host_rsa_key.pub",
        "etc/ssh/sshd_config",
        "etc/apt/sources.list.d/debian.sources",
        "etc/apt/apt.conf.d/99mmdebstrap",
        "etc/apt/apt.conf.d/01autoremove",
        "etc/dpkg/dpkg.cfg.d/99mmdebstrap",
        "etc/machine-id",
        "etc/fstab",
        "usr/share/keyrings/debian-archive-keyring.gpg",
        "usr/sbin/sshd",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("from a package")
    wants = root / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir(parents=True)
    (wants / "ssh.service").symlink_to("/lib/systemd/system/ssh.service")
    (root / "var").mkdir()
    (root / "root").mkdir()
    return root


def test_the_key_follows_files_release_and_packages(guest_files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image, "release", lambda: "bookworm")
    keys = [image.recipe_key(image.take_files(texts(guest_files)))]
    assert re.fullmatch("[0-9a-f]{12}", keys[0])
    assert image.recipe_key(image.take_files(texts(guest_files))) == keys[0]
    for name in ("benito-agent", "disk-init", "benito-agent.service"):
        (guest_files / name).write_text("another")
        keys.append(image.recipe_key(image.take_files(texts(guest_files))))
    monkeypatch.setattr(image, "release", lambda: "trixie")
    keys.append(image.recipe_key(image.take_files(texts(guest_files))))
    monkeypatch.setattr(image, "PACKAGES", (*image.PACKAGES, "gcc"))
    keys.append(image.recipe_key(image.take_files(texts(guest_files))))
    assert len(set(keys)) == len(keys)
    (guest_files / "disk-init").unlink()
    with pytest.raises(debian.PackageError, match="files lack disk-init: give"):
        image.recipe_key(image.take_files(texts(guest_files)))


def test_the_files_of_one_image_are_nothing_to_the_other(guest_files: Path) -> None:
    before = tiny.recipe_key(tiny.take_files(texts(guest_files)))
    (guest_files / "disk-init").write_text("another")
    (guest_files / "benito-agent.service").write_text("another")
    assert tiny.recipe_key(tiny.take_files(texts(guest_files))) == before


@pytest.mark.parametrize("text", ["", 'PRETTY_NAME="Some Linux"\n', "VERSION_CODENAME=../etc\n"])
def test_a_host_that_is_no_debian(tmp_path: Path, text: str) -> None:
    (tmp_path / "os-release").write_text(text)
    with pytest.raises(debian.PackageError, match="does not say which release of Debian"):
        image.release(str(tmp_path / "os-release"))
    (tmp_path / "os-release").write_text(f'{text}VERSION_CODENAME="bookworm"\n')
    assert image.release(str(tmp_path / "os-release")) == "bookworm"


def test_sources_are_debians_own(monkeypatch: pytest.MonkeyPatch) -> None:
    told = [
        "/etc/apt/sources.list.d/debian.sources:2\thttp://mirror.example/debian/\tbookworm\tmain\t/usr/share/keyrings/d.gpg\tDebian",
        "/etc/apt/sources.list:1\thttp://mirror.example/security/\tbookworm-security\tmain\t$(SIGNED_BY)\tDebian",
        "/etc/apt/sources.list.d/editor.list:1\thttps://other.example/\tstable\tmain\t$(SIGNED_BY)\tSomebody",
        "/etc/apt/sources.list:9\thttp://unfetched.example/\tbookworm\tmain\t$(SIGNED_BY)\t$(ORIGIN)",
    ]
    monkeypatch.setattr(debian, "run", lambda command: "\n".join(told))
    found = image.sources()
    assert [source["uri"] for source in found] == ["http://mirror.example/debian/", "http://mirror.example/security/"]
    assert [source["key"] for source in found] == ["/usr/share/keyrings/d.gpg", ""]
    assert [source["file"] for source in found] == ["/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list"]
    monkeypatch.setattr(debian, "run", lambda command: told[2])
    with pytest.raises(debian.PackageError, match="no source of Debian's packages"):
        image.sources()


def test_a_guest_gets_no_password_of_a_mirror_and_no_source_that_it_cannot_reach(tmp_path: Path) -> None:
    (tmp_path / "k").mkdir()
    (tmp_path / "k/d.gpg").touch()
    targets = [
        {**SOURCE, "key": "/k/d.gpg"},
        {**SOURCE, "key": "/k/d.gpg", "component": "contrib"},
        {**SOURCE, "key": "/k/missing.gpg", "release": "bookworm-updates"},
        {**SOURCE, "uri": "https://user:secret@mirror.example/debian/"},
        {**SOURCE, "uri": "file:/srv/mirror/"},
        {**SOURCE, "uri": "cdrom:[Debian]/"},
    ]
    assert image.sources_list(targets, tmp_path) == (
        "deb [signed-by=/k/d.gpg] http://mirror.example/debian/ bookworm main contrib\n"
        "deb http://mirror.example/debian/ bookworm-updates main\n"
    )


SECRET = "Zaubertrank"


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("apt-config"), reason="needs root and apt")
def test_no_command_line_shows_the_password_of_a_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own.conf").write_text(
        f'Acquire::http::Proxy "http://lab:{SECRET}@proxy.example:3128";\nAcquire::IndexTargets::x "y";\nAcquire::Retries "3";\n'
    )
    monkeypatch.setenv("APT_CONFIG", str(tmp_path / "own.conf"))
    # Looks at itself and at all that led to it, as any user of the host can.
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/mmdebstrap").write_text(
        f"""#!/bin/sh
for word; do
    case $word in --aptopt=*) stat -c "%a %U" "${{word#*=}}"; cat "${{word#*=}}" >&2 ;; esac
done >{tmp_path}/file 2>{tmp_path}/options
printf %s {SECRET} >{tmp_path}/word
grep -lsFf {tmp_path}/word /proc/[0-9]*/cmdline >{tmp_path}/seen
printf "E: Unable to connect to http://lab:{SECRET}@proxy.example:3128\\n" >&2
exit 1
"""
    )
    (tmp_path / "bin/mmdebstrap").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    with pytest.raises(debian.PackageError) as caught:
        image.install(tmp_path / "root", [SOURCE])
    assert SECRET not in str(caught.value)
    assert str(caught.value) == "mmdebstrap failed: E: Unable to connect to http://proxy.example:3128"
    assert (tmp_path / "file").read_text() == "600 root\n"
    options = (tmp_path / "options").read_text()
    assert SECRET in options and 'Acquire::Retries "3";' in options
    assert "IndexTargets" not in options
    assert (tmp_path / "seen").read_text() == ""


def test_the_system_becomes_a_guests(system: Path, guest_files: Path) -> None:
    image.lay_out(system, image.take_files(texts(guest_files)), [SOURCE])
    assert not list(system.glob("etc/ssh/ssh_host_*"))
    assert not (system / "etc/apt/apt.conf.d/99mmdebstrap").exists()
    assert (system / "etc/apt/apt.conf.d/01autoremove").exists()
    assert (system / "etc/apt/sources.list").read_text() == "deb http://mirror.example/debian/ bookworm main\n"
    assert not (system / "etc/apt/sources.list.d/debian.sources").exists()
    # Each guest makes one of its own at its first boot.
    assert (system / "etc/machine-id").read_text() == ""
    units = system / "etc/systemd/system"
    assert os.readlink(units / "apt-daily.timer") == "/dev/null"
    assert os.readlink(units / "sysinit.target.wants/benito-agent.service") == "/etc/systemd/system/benito-agent.service"
    assert os.readlink(system / "etc/systemd/system-generators/systemd-gpt-auto-generator") == "/dev/null"
    # Without the key from its host it would start with one of its own, or not at all.
    assert not os.path.lexists(units / "multi-user.target.wants/ssh.service")
    assert (system / "usr/sbin/benito-agent").stat().st_mode & 0o777 == 0o755
    assert (system / "usr/sbin/benito-agent").read_bytes() == (GUEST / "benito-agent").read_bytes()
    assert (system / "root/.ssh").stat().st_mode & 0o777 == 0o700
    assert os.readlink(system / "var/containers") == "benito"
    sshd = (system / "etc/ssh/sshd_config.d/benito.conf").read_text().splitlines()
    assert {"PasswordAuthentication no", "KbdInteractiveAuthentication no", "PermitRootLogin prohibit-password"} <= set(sshd)


def test_nothing_is_laid_out_beside_the_system(system: Path, guest_files: Path, tmp_path: Path) -> None:
    victim = tmp_path / "host"
    victim.mkdir()
    (victim / "machine-id").write_text("the host's own")
    (system / "etc/machine-id").unlink()
    (system / "etc/machine-id").symlink_to(victim / "machine-id")
    (system / "etc/hostname").symlink_to(victim / "hostname")
    image.lay_out(system, image.take_files(texts(guest_files)), [SOURCE])
    assert (victim / "machine-id").read_text() == "the host's own"
    assert os.listdir(victim) == ["machine-id"]


def test_what_a_host_needs_is_there() -> None:
    wanted = set(yaml.safe_load((ROLES / "vhost/defaults/main.yml").read_text())["vhost_packages"])
    # It carries processes, no machines, and builds no image.
    assert wanted - {"qemu-system-x86", "qemu-utils"} <= set(image.PACKAGES)


def test_modules_are_loaded_in_the_order_of_their_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base, first = tmp_path / "modules", tmp_path / "first"
    for name in ("fs/ext4/ext4", "fs/jbd2/jbd2", "lib/crc16", "drivers/block/virtio_blk", "drivers/virtio/virtio-ring"):
        (base / "kernel" / name).parent.mkdir(parents=True, exist_ok=True)
        (base / f"kernel/{name}.ko").write_text(name)
    (base / "modules.dep").write_text(
        "kernel/fs/ext4/ext4.ko: kernel/fs/jbd2/jbd2.ko kernel/lib/crc16.ko\n"
        "kernel/fs/jbd2/jbd2.ko: kernel/lib/crc16.ko\n"
        "kernel/lib/crc16.ko:\n"
        "kernel/drivers/block/virtio_blk.ko: kernel/drivers/virtio/virtio-ring.ko\n"
        "kernel/drivers/virtio/virtio-ring.ko:\n"
    )
    (base / "modules.builtin").write_text("kernel/crypto/crc32c_generic.ko\n")
    first.mkdir()
    monkeypatch.setattr(image, "FIRST_MODULES", ("virtio_ring", "ext4", "crc32c_generic", "virtio_blk"))
    image.first_modules(base, first)
    order = (first / "modules/order").read_text().split()
    assert order == ["virtio-ring.ko", "crc16.ko", "jbd2.ko", "ext4.ko", "virtio_blk.ko"]
    assert sorted(os.listdir(first / "modules")) == sorted([*order, "order"])
    monkeypatch.setattr(image, "FIRST_MODULES", ("btrfs",))
    with pytest.raises(debian.PackageError, match="no module btrfs"):
        image.first_modules(base, first)


@pytest.mark.skipif(not shutil.which("mke2fs") or os.geteuid() != 0, reason="needs mke2fs and root, whose files go into the disk")
def test_the_disk_holds_the_files_and_takes_no_more_than_they_do(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc/hostname").write_text("debian\n")
    (root / "secret").write_text("x" * 100_000)
    (root / "secret").chmod(0o600)
    os.chown(root / "secret", 42, 43)
    image.write_disk(root, tmp_path / "disk", "0123456789ab")
    facts = (tmp_path / "disk").stat()
    assert facts.st_size == image.DISK_SIZE
    assert facts.st_blocks * 512 < 100 << 20

    def look(command: str) -> str:
        return subprocess.run(["debugfs", "-R", command, str(tmp_path / "disk")], capture_output=True, text=True, check=True).stdout

    assert look("cat /etc/hostname") == "debian\n"
    assert re.search(r"Mode:\s+0600.*User:\s+42\s+Group:\s+43", look("stat /secret"), re.DOTALL)
    check = subprocess.run(["e2fsck", "-fn", str(tmp_path / "disk")], capture_output=True, text=True, check=False)
    assert check.returncode == 0, check.stdout
    identity = look("show_super_stats -h")
    (tmp_path / "disk").unlink()
    image.write_disk(root, tmp_path / "disk", "0123456789ab")
    assert re.findall("(?:UUID|Seed).*", look("show_super_stats -h")) == re.findall("(?:UUID|Seed).*", identity)


@pytest.mark.parametrize(
    ("missing", "said"), [("mmdebstrap", "install the package mmdebstrap"), ("mke2fs", "install the package e2fsprogs")]
)
def test_a_missing_tool_is_named(tmp_path: Path, guest_files: Path, monkeypatch: pytest.MonkeyPatch, missing: str, said: str) -> None:
    monkeypatch.setattr(image, "release", lambda: "bookworm")
    monkeypatch.setattr(shutil, "which", lambda tool: None if tool == missing else f"/usr/bin/{tool}")
    with pytest.raises(debian.PackageError, match=said):
        image.ensure(tmp_path / "cache", image.take_files(texts(guest_files)))
    assert os.listdir(tmp_path / "cache") == [".lock"]


def test_too_little_space_is_said_before_anything_is_fetched(tmp_path: Path, guest_files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image, "release", lambda: "bookworm")
    monkeypatch.setattr(shutil, "which", lambda tool: f"/usr/bin/{tool}")
    monkeypatch.setattr(image, "BUILD_SPACE", 1 << 60)
    with pytest.raises(debian.PackageError, match=r"no space left to build an image in .*: it takes about 3 GB"):
        image.ensure(tmp_path / "cache", image.take_files(texts(guest_files)))


def test_what_mmdebstrap_says_is_shown_and_nothing_stays(tmp_path: Path, guest_files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    stub = tools / "mmdebstrap"
    stub.write_text("#!/bin/sh\nfor last; do :; done\necho 'I: working' >&2\necho 'E: apt-get failed: no such mirror' >&2\nexit 25\n")
    stub.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    monkeypatch.setattr(image, "release", lambda: "bookworm")
    monkeypatch.setattr(image, "require_debian", lambda name: None)
    monkeypatch.setattr(image, "sources", lambda: [SOURCE])
    monkeypatch.setattr(image, "kernel_package", lambda: {"linux-image-1": debian.Package("linux-image-1", "1", "kernel", (), "aa")})
    monkeypatch.setattr(image, "BUILD_SPACE", 0)
    with pytest.raises(debian.PackageError, match="mmdebstrap failed: E: apt-get failed: no such mirror"):
        image.ensure(tmp_path / "cache", image.take_files(texts(guest_files)))
    assert os.listdir(tmp_path / "cache") == [".lock"]


def test_an_image_is_outdated_when_apt_has_another_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packages = [{"name": "one", "version": "1.0", "sha256": ""}, {"name": "gone", "version": "1.0", "sha256": ""}]
    made = store.Image(tmp_path, "key", "6.1", packages, "")
    today = {"one": debian.Package("one", "1.0", "", (), "aa")}
    monkeypatch.setattr(debian, "describe", lambda names: today)
    assert not image.outdated(made)
    today["one"] = debian.Package("one", "1.1", "", (), "bb")
    assert image.outdated(made)


def test_images_of_two_recipes_and_names_lie_side_by_side(tmp_path: Path) -> None:
    made = []
    for name, key, parts in (("tiny", "aa", ("vmlinux",)), ("debian", "aa", ("vmlinux", "disk.img")), ("debian", "bb", ("disk.img",))):
        with store.locked(tmp_path), store.draft(tmp_path, name, key) as work:
            (work / "image").mkdir()
            for part in parts:
                (work / "image" / part).write_text(f"{name} {key}")
            facts = {"release": "6.1", "arguments": "quiet", "packages": []}
            made.append(store.settle(tmp_path, name, key, work / "image", facts))
    assert [store.find(tmp_path, name, key) for name, key in (("tiny", "aa"), ("debian", "aa"), ("debian", "bb"))] == made
    assert [one.disk and one.disk.name for one in made] == [None, "disk.img", "disk.img"]
    assert store.remove(tmp_path, "debian", "aa")
    assert store.find(tmp_path, "debian", "aa") is None
    assert store.find(tmp_path, "debian", "bb") == made[2]
    assert json.loads((tmp_path / "tiny-aa/manifest.json").read_text())["name"] == "tiny"
