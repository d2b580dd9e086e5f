# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The server of shared directories, a real one, asked by clients that keep no rules."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import signal
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.benito.testbed.plugins.module_utils import control_net, processes, shares, sweep
from ansible_collections.benito.testbed.plugins.module_utils.control_net import ControlNet
from ansible_collections.benito.testbed.plugins.module_utils.errors import HostError
from ansible_collections.benito.testbed.plugins.module_utils.rundir import RunDir
from ansible_collections.benito.testbed.plugins.module_utils.shares import Server, Share, ShareError

from .nine_p import Client

Run = Callable[[Callable[[], None]], None]

GATEWAY, GUEST, STRANGER = "172.20.5.1", "172.20.5.2", "172.20.5.9"
NET = {"bridge": "bndemo", "address": GATEWAY, "prefix": 24}
WHO = "nobody"


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Path]:
    """Two directories with a file each; the second belongs to the account."""
    found = {name: tmp_path / name for name in ("users", "proj")}
    for name, path in found.items():
        path.mkdir(mode=0o755)
        (path / "greeting").write_text(f"hello from {name}\n")
    return found


@pytest.fixture
def wanted(places: dict[str, Path], rundir: RunDir) -> list[Share]:
    return [share(rundir, "/users", places["users"]), share(rundir, "/proj", places["proj"], True)]


def share(rundir: RunDir, name: str, path: Path, writable: bool = False) -> Share:
    return Share.from_options({"name": name, "path": str(path), "writable": writable}, rundir.root)


def server(*clients: str) -> Server:
    return Server.from_options(NET, 5640, WHO, clients or (GUEST,))


def command(words: str) -> None:
    subprocess.run(words.split(), check=True)


@contextmanager
def inside(pid: int) -> Iterator[None]:
    """Be in the network of a process."""
    libc = ctypes.CDLL(None, use_errno=True)
    here, there = os.open("/proc/self/ns/net", os.O_RDONLY), os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
    try:
        assert libc.setns(there, 0) == 0
        yield
    finally:
        assert libc.setns(here, 0) == 0
        os.close(here)
        os.close(there)


@contextmanager
def a_guest(rundir: RunDir) -> Iterator[Callable[..., Client]]:
    """Make the control net and what stands in for a guest there: a network with two addresses behind the bridge. Yields how it connects."""
    control_net.create(rundir, ControlNet.from_options({**NET, "mode": "nat"}))
    holder = subprocess.Popen(["unshare", "--net", "sleep", "300"])
    try:
        while os.readlink(f"/proc/{holder.pid}/ns/net") == os.readlink("/proc/self/ns/net"):
            pass
        command("ip link add port type veth peer name eth0")
        command(f"ip link set eth0 netns {holder.pid}")
        command("ip link set port master bndemo up")
        with inside(holder.pid):
            for address in (GUEST, STRANGER):
                command(f"ip address add {address}/24 dev eth0")
            command("ip link set eth0 up")

        def connect(aname: str, uid: int = 0, source: str = GUEST) -> Client:
            with inside(holder.pid):
                return Client(GATEWAY, 5640, aname, uid, source)

        yield connect
    finally:
        holder.kill()
        holder.wait()


def refused(action: Callable[[], object]) -> int:
    """Return the number of the error that an action ends with."""
    with pytest.raises(OSError) as caught:
        action()
    return caught.value.errno or 0


def test_guests_read_and_write_as_the_account(rundir: RunDir, wanted: list[Share], places: dict[str, Path], own_network: Run) -> None:
    shutil.chown(places["proj"], WHO)

    def run() -> None:
        with a_guest(rundir) as connect:
            report = shares.present(rundir, server(), wanted, check=False)
            assert report["server"].get("msg") is None
            assert [(entry["name"], entry["action"]) for entry in report["shares"]] == [("/users", "export"), ("/proj", "export")]
            with connect("/users") as users, connect("/proj") as proj:
                assert users.read("greeting") == b"hello from users\n"
                assert refused(lambda: users.write(b"x", "mine")) == errno.EROFS
                proj.write(b"results\n", "mine")
            made = places["proj"] / "mine"
            assert made.read_text() == "results\n"
            assert made.owner() == WHO
            private = places["proj"] / "private"
            private.write_text("of root\n")
            private.chmod(0o600)
            with connect("/proj") as proj:
                assert refused(lambda: proj.read("private")) == errno.EACCES
            again = shares.present(rundir, server(), wanted, check=False)
            assert not any(entry["changed"] for entry in (again["server"], *again["shares"])), again

    own_network(run)


def test_no_file_of_a_guest_makes_anybody_the_account(
    rundir: RunDir, wanted: list[Share], places: dict[str, Path], own_network: Run
) -> None:
    shutil.chown(places["proj"], WHO)

    def run() -> None:
        with a_guest(rundir) as connect:
            assert shares.present(rundir, server(), wanted, check=False)["server"].get("msg") is None
            with connect("/proj") as proj:
                proj.write(b"#!/bin/sh\n", "tool", 0o755)
                for mode in (0o4755, 0o2755, 0o6711):
                    attempts = (
                        lambda mode=mode: proj.chmod(mode, "tool"),
                        lambda mode=mode: proj.write(b"x", f"made{mode:o}", mode),
                        lambda mode=mode: proj.mknod(f"node{mode:o}", stat.S_IFREG | mode),
                    )
                    assert [refused(attempt) for attempt in attempts] == [errno.EPERM] * 3
                # All else is as ever.
                proj.chmod(0o1700, "tool")
                proj.mkdir("directory", 0o2755)
            found = {path.name: path.stat().st_mode for path in places["proj"].iterdir()}
            assert [name for name, mode in found.items() if mode & 0o6000] == []
            assert (found["tool"] & 0o7777, stat.S_ISDIR(found["directory"])) == (0o1700, True)
            status = Path(f"/proc/{shares.state(rundir)['pid']}/status").read_text()
            assert "NoNewPrivs:\t1\n" in status

    own_network(run)


def test_links_lead_nowhere_outside_of_the_shares(rundir: RunDir, wanted: list[Share], places: dict[str, Path], own_network: Run) -> None:
    shutil.chown(places["proj"], WHO)
    secret = Path(rundir.root) / "secret"
    secret.write_text("key\n")

    def run() -> None:
        with a_guest(rundir) as connect:
            shares.present(rundir, server(), wanted, check=False)
            with connect("/proj") as proj:
                for number, target in enumerate((secret, "/etc/hostname", f"/proc/{os.getpid()}/status", "../../../../etc/shadow")):
                    proj.link(f"link{number}", str(target))
                    assert refused(lambda name=f"link{number}": proj.read(name)) in (errno.ENOENT, errno.EACCES)
                proj.link("passwd", "/etc/passwd")
                assert proj.read("passwd").startswith(b"guests:")
                for path in (("..", "etc", "hostname"), ("..", "users", "greeting")):
                    assert refused(lambda path=path: proj.read(*path)) != 0
            for aname in ("/", "/etc", "/usr", "ctl", str(places["users"])):
                assert refused(lambda aname=aname: connect(aname)) == errno.EPERM

    own_network(run)


def test_nobody_else_reaches_it(rundir: RunDir, wanted: list[Share], own_network: Run) -> None:
    def run() -> None:
        with a_guest(rundir) as connect:
            shares.present(rundir, server(), wanted, check=False)
            connect("/users").__exit__(None, None, None)
            for attempt in (lambda: connect("/users", source=STRANGER), lambda: Client(GATEWAY, 5640, "/users")):
                with pytest.raises(TimeoutError):
                    attempt()
            command("ip address add 172.20.5.77/32 dev lo")
            with pytest.raises(ConnectionRefusedError):
                Client("127.0.0.1", 5640, "/users")
            # Another guest is let in without a new server.
            pid = shares.state(rundir)["pid"]
            report = shares.present(rundir, server(GUEST, STRANGER), wanted, check=False)
            assert report["server"]["action"] == "admit"
            connect("/users", source=STRANGER).__exit__(None, None, None)
            assert shares.state(rundir)["pid"] == pid
            command("nft flush ruleset")
            assert shares.present(rundir, server(GUEST, STRANGER), wanted, check=True)["server"]["action"] == "admit"

    own_network(run)


def test_many_guests_at_once(rundir: RunDir, wanted: list[Share], own_network: Run) -> None:
    def run() -> None:
        with a_guest(rundir) as connect, ExitStack() as stack:
            shares.present(rundir, server(), wanted, check=False)
            clients = [stack.enter_context(connect("/users", uid=0)) for dummy in range(100)]
            assert {client.read("greeting") for client in clients} == {b"hello from users\n"}

    own_network(run)


def test_it_has_no_rights_and_its_mounts_are_its_own(rundir: RunDir, wanted: list[Share], own_network: Run) -> None:
    def run() -> None:
        with a_guest(rundir):
            shares.present(rundir, server(), wanted, check=False)
            pid = shares.state(rundir)["pid"]
            status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)
            assert "0" not in status["Uid"].split()
            assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0
            assert sorted(os.listdir(f"{rundir.path}/shares/root")) == []
            assert "benito-shares" not in Path("/proc/self/mounts").read_text()

    own_network(run)


def test_what_changes_is_done_and_predicted(rundir: RunDir, wanted: list[Share], places: dict[str, Path], own_network: Run) -> None:
    def both(*given: Share) -> dict[str, Any]:
        said = shares.present(rundir, server(), given, check=True)
        done = shares.present(rundir, server(), given, check=False)
        assert said == done
        return {entry["name"]: (entry["action"], entry["reason"]) for entry in (done["server"], *done["shares"])}

    def run() -> None:
        with a_guest(rundir) as connect:
            assert both(*wanted)["server"] == ("start", "not there")
            os.kill(shares.state(rundir)["pid"], signal.SIGKILL)
            while shares.state(rundir)["state"] != "dead":
                pass
            assert both(*wanted)["/users"] == ("export", "the server: dead")
            assert both(wanted[0])["/proj"] == ("withdraw", "not wanted")
            assert refused(lambda: connect("/proj")) == errno.EPERM
            # Another directory at the same path is another directory.
            shutil.rmtree(places["users"])
            places["users"].mkdir()
            (places["users"] / "greeting").write_text("new\n")
            assert both(wanted[0])["server"] == ("start", "changed")
            with connect("/users") as users:
                assert users.read("greeting") == b"new\n"
            shutil.rmtree(places["users"])
            report = shares.present(rundir, server(), wanted, check=False)
            assert report["shares"][0]["missing"]
            assert "no directory" in report["shares"][0]["msg"]
            assert refused(lambda: connect("/users")) == errno.EPERM
            connect("/proj").__exit__(None, None, None)
            assert both()["server"] == ("remove", "nothing to share")
            assert not os.path.exists(f"{rundir.path}/shares")
            assert shares.state(rundir)["state"] == "absent"
            assert control_net.tables(rundir.mark) == ["bndemo"]

    own_network(run)


def test_a_sweep_leaves_nothing_but_the_directories(rundir: RunDir, wanted: list[Share], places: dict[str, Path], own_network: Run) -> None:
    def run() -> None:
        with a_guest(rundir):
            for lost in (False, True):
                rundir.create()
                control_net.create(rundir, ControlNet.from_options({**NET, "mode": "nat"}))
                shares.present(rundir, server(), wanted, check=False)
                pid = shares.state(rundir)["pid"]
                if lost:
                    shutil.rmtree(rundir.path)
                remains = sweep.find(rundir.project, rundir.experiment, rundir.root)
                assert any("shared" in line or f"process {pid} (diod)" in line for line in remains.lines()), remains.lines()
                sweep.sweep(remains, rundir.root)
                assert processes.look(pid) is None
                assert sweep.find(rundir.project, rundir.experiment, rundir.root).lines() == []
                assert (places["users"] / "greeting").exists()

    own_network(run)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"name": "users"}, "must be an absolute path"),
        ({"name": "/users", "path": "/srv/us ers"}, "must be an absolute path"),
        ({"name": '/users", opts="rw'}, "must be an absolute path"),
        ({"name": "/users", "path": "/srv/../etc"}, "must be an absolute path"),
        ({"name": "/users", "path": "/"}, "must be an absolute path"),
        ({"name": "/users\n", "path": "/srv"}, "must be an absolute path"),
        ({"name": "/etc/x", "path": "/srv"}, "its own system's"),
        ({"name": "/lib64", "path": "/srv"}, "its own system's"),
        ({"name": "/usr/local/share", "path": "/srv"}, "its own system's"),
    ],
)
def test_what_cannot_be_shared(options: dict[str, str], said: str, rundir: RunDir) -> None:
    with pytest.raises(ShareError, match=said):
        Share.from_options(options, rundir.root)


def test_keys_of_experiments_are_not_shared(rundir: RunDir, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(rundir.path)
    for path in (rundir.root, rundir.path, str(Path(rundir.root).parent), str(tmp_path / "link")):
        with pytest.raises(ShareError, match="keys of experiments"):
            Share.from_options({"name": "/x", "path": path}, rundir.root)


def test_shares_do_not_lie_in_each_other(rundir: RunDir) -> None:
    for names in (("/a", "/a"), ("/a/b", "/a")):
        with pytest.raises(ShareError, match="lies in"):
            shares.distinct([Share(name, "/srv", False) for name in names])
    assert len(shares.distinct([Share(name, "/srv", False) for name in ("/a", "/ab", "/b/a")])) == 3


@pytest.mark.parametrize(
    ("control", "port", "account", "said"),
    [
        ({}, 5640, WHO, "has none here"),
        (NET, 564, WHO, "between 1024 and 65535"),
        ({**NET, "address": "nowhere"}, 5640, WHO, "nowhere"),
    ],
)
def test_where_nothing_can_be_served(control: dict[str, Any], port: int, account: str, said: str) -> None:
    with pytest.raises(HostError, match=said):
        Server.from_options(control, port, account, [GUEST])


@pytest.mark.parametrize(
    ("name", "said"), [("root", "is root, and guests may not act as it"), ("no-such-account", "no account no-such-account")]
)
def test_whom_guests_cannot_act_as(name: str, said: str, rundir: RunDir, wanted: list[Share], own_network: Run) -> None:
    def run() -> None:
        with a_guest(rundir):
            asked = Server.from_options(NET, 5640, name, [GUEST])
            report = shares.present(rundir, asked, wanted, check=False)
            assert said in report["server"]["msg"]
            assert shares.state(rundir)["state"] != "running"

    own_network(run)
