# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent inside a guest, run outside of one: in a scratch root, with an ``ip`` that writes down what it is told."""

from __future__ import annotations

import io
import os
import re
import shutil
import signal
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

GUEST = Path(__file__).resolve().parents[2] / "roles/qemu_guest/files/guest"
SHELLS = [shell for shell in (["dash"], ["bash", "--posix"], ["busybox", "ash"]) if shutil.which(shell[0])]

FILES = {
    "key": "k1\n",
    "hostname": "alpha\n",
    "fqdn": "alpha.exp.Proj\n",
    "pid_eid": "Proj\nexp\n",
    "interfaces": "02:00:00:00:00:01 eth0 192.168.77.1/24 control -\n02:00:00:00:00:02 eth1 10.0.0.1/30 inf0 lan0\n",
    "gateway": "192.168.77.254\n",
    "routes": "10.1.0.0/24 10.0.0.2 eth1\n",
    "unreachable": "10.0.0.0/8\n",
    "hosts": "127.0.0.1\tlocalhost\n10.0.0.1\talpha-lan0 alpha-0 alpha\n",
    "resolv.conf": "nameserver 192.168.77.254\n",
    "authorized_keys": "ssh-ed25519 AAAA someone\n",
}


def archive(files: dict[str, str]) -> bytes:
    """Pack a configuration as the host does."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(text.encode()), 0o600
            tar.addfile(entry, io.BytesIO(text.encode()))
    return packed.getvalue()


class Guest:
    """A root directory that looks like a guest's to the agent, and the agent in it."""

    def __init__(self, root: Path, shell: list[str], interfaces: dict[str, str]) -> None:
        self.root, self.shell = root, shell
        for directory in ("dev", "etc", "root", "sbin", "run", "proc/sys/kernel", "proc/sys/net/ipv4/conf/all", "var"):
            (root / directory).mkdir(parents=True)
        self.write("proc/sys/kernel/osrelease", "6.1.0\n")
        self.write("proc/uptime", "1.50 0.20\n")
        for number, port in enumerate(("benito.state", "benito.config")):
            self.write(f"sys/class/virtio-ports/vport1p{number}/name", f"{port}\n")
        self.write("dev/vport1p0", "")
        os.mkfifo(root / "dev/vport1p1")
        for device, mac in interfaces.items():
            self.write(f"sys/class/net/{device}/address", f"{mac}\n")
            (root / f"sys/class/net/{device}/device").mkdir()
        self.write("sbin/ip", f'#!/bin/sh\nfor last; do :; done\ncat "$last" >>{root}/ip.log\necho END >>{root}/ip.log\n')
        (root / "sbin/ip").chmod(0o755)
        self.process: subprocess.Popen[bytes] | None = None
        self.port = -1

    def write(self, name: str, text: str) -> None:
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        (self.root / name).write_text(text, encoding="utf-8")

    def read(self, name: str) -> str:
        return (self.root / name).read_text(encoding="utf-8")

    def boot(self, files: dict[str, str] | None) -> None:
        if files is not None:
            config = self.root / "sys/firmware/qemu_fw_cfg/by_name/opt/benito/config/raw"
            config.parent.mkdir(parents=True)
            config.write_bytes(archive(files))
        self.port = os.open(self.root / "dev/vport1p1", os.O_RDWR)
        environment = {**os.environ, "BENITO_ROOT": str(self.root)}
        # In a network of its own: busybox's shell has udhcpc and tc built in, and here they must find no interface of this machine.
        apart = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--net"]
        self.process = subprocess.Popen([*apart, *self.shell, str(GUEST / "benito-agent")], env=environment, start_new_session=True)

    def send(self, files: dict[str, str]) -> None:
        message = archive(files)
        os.write(self.port, f"config {len(message)}\n".encode() + message)

    def state(self, last: str) -> list[str]:
        """Return the state lines once one of them begins with ``last``."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            lines = self.read("dev/vport1p0").splitlines()
            if any(line.startswith(last) for line in lines):
                return lines
            time.sleep(0.05)
        pytest.fail(f"no state {last!r} in {self.read('dev/vport1p0')!r}")

    def batches(self) -> list[list[str]]:
        """Return what ip was told, one list per run."""
        return [batch.splitlines() for batch in self.read("ip.log").split("END\n")[:-1]]

    def stop(self) -> None:
        if self.process:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            os.close(self.port)


@pytest.fixture(params=SHELLS, ids=lambda shell: shell[-1])
def guest(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Guest]:
    found = Guest(tmp_path / "root", request.param, {"eth0": "02:00:00:00:00:01", "eth1": "02:00:00:00:00:02"})
    yield found
    found.stop()


def test_a_boot_is_told_in_order(guest: Guest) -> None:
    guest.boot(FILES)
    assert guest.state("booted") == ["boot 6.1.0", "configured k1", "booted 1.50"]


def test_an_interface_called_control_is_one_of_the_experiment(guest: Guest) -> None:
    interfaces = "02:00:00:00:00:01 eth0 192.168.77.1/24 control -\n02:00:00:00:00:02 eth1 10.0.0.1/30 control lan0\n"
    guest.boot({**FILES, "interfaces": interfaces})
    guest.state("booted")
    [batch] = guest.batches()
    defaults = [line for line in batch if "default" in line]
    assert defaults
    assert all("dev eth0" in line for line in defaults)
    assert guest.read("var/emulab/boot/controlif") == "eth0\n"
    assert guest.read("var/emulab/boot/ifmap").startswith("eth1 10.0.0.1 ")


def test_the_network_is_one_run_of_ip(guest: Guest) -> None:
    guest.boot(FILES)
    guest.state("booted")
    assert guest.batches() == [
        [
            "link set dev lo up",
            "address replace 192.168.77.1/24 brd + dev eth0",
            "link set dev eth0 up",
            "address replace 10.0.0.1/30 brd + dev eth1",
            "link set dev eth1 up",
            "route replace unreachable 10.0.0.0/8 metric 65535",
            "route replace default via 192.168.77.254 dev eth0",
            "route replace 10.1.0.0/24 via 10.0.0.2 dev eth1",
        ]
    ]
    assert guest.read("proc/sys/net/ipv4/ip_forward") == "1\n"
    assert guest.read("proc/sys/net/ipv4/conf/all/rp_filter") == "0\n"


def test_swapped_names_go_through_temporary_ones(guest: Guest) -> None:
    guest.write("sys/class/net/eth0/address", "02:00:00:00:00:02\n")
    guest.write("sys/class/net/eth1/address", "02:00:00:00:00:01\n")
    guest.boot(FILES)
    guest.state("booted")
    assert guest.batches()[0][:6] == [
        "link set dev eth0 down",
        "link set dev eth0 name moving0",
        "link set dev eth1 down",
        "link set dev eth1 name moving1",
        "link set dev moving0 name eth1",
        "link set dev moving1 name eth0",
    ]


def test_the_files_a_program_reads_about_its_node(guest: Guest) -> None:
    guest.boot({**FILES, "topomap": "# nodes: vname,links\n"})
    guest.state("booted")
    assert guest.read("proc/sys/kernel/hostname") == "alpha\n"
    assert guest.read("etc/hosts") == guest.read("var/containers/config/hosts") == FILES["hosts"]
    assert guest.read("etc/resolv.conf") == FILES["resolv.conf"]
    assert guest.read("var/benito/config/pid_eid") == "Proj\nexp\n"
    assert guest.read("var/benito/config/route/alpha") == FILES["routes"]
    assert (guest.read("var/benito/pid"), guest.read("var/benito/eid")) == ("Proj\n", "exp\n")
    boot = {path.name: path.read_text() for path in (guest.root / "var/emulab/boot").iterdir()}
    assert boot["nickname"] == "alpha.exp.Proj\n"
    assert (boot["controlif"], boot["myip"], boot["mynetmask"]) == ("eth0\n", "192.168.77.1\n", "255.255.255.0\n")
    assert boot["ifmap"] == "eth1 10.0.0.1 020000000002\n"
    assert boot["topomap"] == "# nodes: vname,links\n"
    assert (guest.root / "root/.ssh/authorized_keys").stat().st_mode & 0o777 == 0o600
    assert (guest.root / "etc/resolv.conf").stat().st_mode & 0o777 == 0o644


def test_a_start_command_runs_in_a_shell_and_its_status_is_told(guest: Guest) -> None:
    guest.boot({**FILES, "start_command": 'echo "out  $HOME"; echo err >&2; pwd >"$HOME/where"; exit 3\n'})
    lines = guest.state("start-command exit")
    assert lines[-3:] == ["booted 1.50", "start-command running", "start-command exit 3"]
    assert guest.read("var/benito/log/start_command.out") == f"out  {guest.root}/root\n"
    assert guest.read("var/benito/log/start_command.err") == "err\n"
    assert "exit status: 3\n" in guest.read("var/benito/log/start_command.log")
    assert guest.read("root/where") == f"{guest.root}/root\n"


def test_a_start_command_killed_by_a_signal(guest: Guest) -> None:
    guest.boot({**FILES, "start_command": "kill -TERM $$\n"})
    assert guest.state("start-command exit")[-1] == "start-command exit 143"


def test_a_live_configuration_changes_only_the_difference(guest: Guest) -> None:
    guest.boot({**FILES, "start_command": "sleep 60\n"})
    guest.state("start-command running")
    interfaces = FILES["interfaces"].replace("10.0.0.1/30", "10.0.0.9/24")
    guest.send({**FILES, "key": "k2\n", "interfaces": interfaces, "routes": "10.2.0.0/24 10.0.0.2 eth1\n", "start_command": "exit 9\n"})
    lines = guest.state("configured k2")
    assert lines.count("start-command running") == 1
    undo, now = guest.batches()[1:]
    assert undo == ["route del 10.1.0.0/24 via 10.0.0.2 dev eth1", "address del 10.0.0.1/30 dev eth1"]
    assert "address replace 10.0.0.9/24 brd + dev eth1" in now
    assert not [command for command in now if command.startswith("link set") and not command.endswith(" up")]


def test_the_same_configuration_again_takes_nothing_back(guest: Guest) -> None:
    guest.boot(FILES)
    guest.state("booted")
    guest.send({**FILES, "key": "k2\n"})
    guest.state("configured k2")
    first, second = guest.batches()
    assert first == second


def test_without_a_boot_configuration_the_first_live_one_boots(guest: Guest) -> None:
    guest.boot(None)
    assert guest.state("asleep") == ["boot 6.1.0", "asleep"]
    guest.send(FILES)
    assert guest.state("booted") == ["boot 6.1.0", "asleep", "boot 6.1.0", "configured k1", "booted 1.50"]


def test_a_guest_that_sleeps_has_let_its_interfaces_go(guest: Guest) -> None:
    driver = "sys/bus/virtio/drivers/virtio_net"
    for name in ("bind", "unbind"):
        guest.write(f"{driver}/{name}", "")
    (guest.root / driver / "virtio2").mkdir()
    guest.boot(None)
    guest.state("asleep")
    assert guest.read(f"{driver}/unbind") == "virtio2\n"
    assert guest.read(f"{driver}/bind") == ""
    guest.send(FILES)
    guest.state("booted")
    assert guest.read(f"{driver}/bind") == "virtio2\n"
    # It wakes up once.
    guest.write(f"{driver}/bind", "")
    guest.send({**FILES, "key": "k2\n"})
    guest.state("configured k2")
    assert guest.read(f"{driver}/bind") == ""


@pytest.mark.parametrize("kept", [True, False], ids=["kept", "killed"])
def test_ip_waits_for_its_commands_while_a_guest_sleeps(guest: Guest, kept: bool) -> None:
    said = f"echo START >>{guest.root}/started; echo $$ >{guest.root}/ip.pid; "
    guest.write("sbin/ip", guest.read("sbin/ip").replace("for last", f"{said}for last", 1))
    guest.boot(None)
    guest.state("asleep")
    deadline = time.monotonic() + 10
    while not (guest.root / "ip.pid").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    if not kept:
        os.kill(int(guest.read("ip.pid")), signal.SIGKILL)
    guest.send(FILES)
    assert guest.state("booted")[-2:] == ["configured k1", "booted 1.50"]
    assert guest.read("started").count("START") == (1 if kept else 2)
    [batch] = guest.batches()
    assert "address replace 10.0.0.1/30 brd + dev eth1" in batch
    # Only the first one was waiting.
    guest.send({**FILES, "key": "k2\n"})
    guest.state("configured k2")
    assert guest.batches()[1] == batch


def dropbear(guest: Guest) -> None:
    """Give the guest a dropbear that says when it is started and who it is."""
    (guest.root / "etc/dropbear").mkdir()
    started = f"echo {os.getpid()} >{guest.root}/run/dropbear.pid"
    guest.write("usr/sbin/dropbear", f'#!/bin/sh\necho "$*" >>{guest.root}/dropbear.log\n{started}\n')
    (guest.root / "usr/sbin/dropbear").chmod(0o755)


@pytest.mark.parametrize("asleep", [False, True], ids=["booted", "woken up"])
def test_dropbear_is_started_once_and_finds_each_new_key_at_its_place(guest: Guest, asleep: bool) -> None:
    dropbear(guest)
    first = {**FILES, "dropbear_ed25519_host_key": "one\n"}
    guest.boot(None if asleep else first)
    if asleep:
        guest.state("asleep")
        assert guest.read("dropbear.log").count("\n") == 1
        guest.send(first)
    guest.state("booted")
    key = guest.root / "etc/dropbear/dropbear_ed25519_host_key"
    assert key.read_text() == "one\n"
    assert key.stat().st_mode & 0o777 == 0o600
    guest.send({**FILES, "key": "k2\n", "dropbear_ed25519_host_key": "two\n"})
    guest.state("configured k2")
    assert key.read_text() == "two\n"
    assert guest.read("dropbear.log") == f"-s -R -P {guest.root}/run/dropbear.pid\n"


def test_a_host_key_that_cannot_be_written_is_an_error(guest: Guest) -> None:
    dropbear(guest)
    (guest.root / "etc/dropbear").rmdir()
    guest.boot({**FILES, "dropbear_ed25519_host_key": "one\n"})
    assert guest.state("booted") == ["boot 6.1.0", "error the SSH host key cannot be written", "booted 1.50"]


def test_a_dropbear_that_does_not_start_is_an_error(guest: Guest) -> None:
    dropbear(guest)
    guest.write("usr/sbin/dropbear", "#!/bin/sh\nexit 1\n")
    guest.boot(FILES)
    assert guest.state("booted") == ["boot 6.1.0", "error dropbear does not start", "booted 1.50"]


def test_a_missing_interface_is_an_error_and_no_configuration(guest: Guest) -> None:
    extra = "02:00:00:00:00:09 eth7 10.0.7.1/24 inf1 lan7\n"
    guest.boot({**FILES, "interfaces": FILES["interfaces"] + extra, "start_command": "true\n"})
    lines = guest.state("booted")
    assert lines == ["boot 6.1.0", "error no interface for eth7 with MAC 02:00:00:00:00:09", "booted 1.50"]


def test_what_is_no_message_is_an_error_line(guest: Guest) -> None:
    guest.boot(FILES)
    guest.state("booted")
    os.write(guest.port, b"config 5\nhello")
    assert guest.state("error")[-1] == "error the configuration is not a gzip archive that tar can read"
    os.write(guest.port, b"config x\n")
    guest.state("error a message needs its size")
    guest.send({**FILES, "key": "k2\n"})
    guest.state("configured k2")


@pytest.fixture
def systemd(guest: Guest) -> Guest:
    """A guest with OpenSSH and systemd, and dropbear as well, which nodes inside of it would use."""
    for name in ("usr/sbin/sshd", "usr/sbin/dropbear"):
        guest.write(name, f"#!/bin/sh\necho {name} >>{guest.root}/wrong\n")
    guest.write("bin/systemctl", f'#!/bin/sh\necho "$*" >>{guest.root}/systemctl.log\n')
    for name in ("usr/sbin/sshd", "usr/sbin/dropbear", "bin/systemctl"):
        (guest.root / name).chmod(0o755)
    (guest.root / "etc/ssh").mkdir()
    (guest.root / "run/systemd/system").mkdir(parents=True)
    return guest


def test_sshd_gets_its_key_and_is_started_again_for_a_new_one_only(systemd: Guest) -> None:
    key = systemd.root / "etc/ssh/ssh_host_ed25519_key"
    systemd.boot({**FILES, "ssh_host_ed25519_key": "one\n"})
    assert systemd.state("booted") == ["boot 6.1.0", "configured k1", "booted 1.50"]
    assert key.read_text() == "one\n"
    assert key.stat().st_mode & 0o777 == 0o600
    systemd.send({**FILES, "key": "k2\n", "ssh_host_ed25519_key": "one\n"})
    systemd.state("configured k2")
    systemd.send({**FILES, "key": "k3\n", "ssh_host_ed25519_key": "two\n"})
    systemd.state("configured k3")
    assert key.read_text() == "two\n"
    assert systemd.read("systemctl.log").splitlines() == [f"{word} ssh.service" for word in ("restart", "start", "restart")]
    assert not (systemd.root / "wrong").exists()


def test_where_systemd_runs_a_guest_sleeps_when_that_is_done_and_wakes_up_as_another_machine(systemd: Guest) -> None:
    answers = "test $# = 1 || exit 0; test -e {root}/up && echo running || {{ : >{root}/up; echo starting; }}"
    systemd.write("bin/systemctl", f'#!/bin/sh\necho "$*" >>{systemd.root}/systemctl.log\n{answers.format(root=systemd.root)}\n')
    systemd.write("etc/machine-id", "of the template\n")
    systemd.write("proc/sys/kernel/random/uuid", "00000000-0000-4000-8000-000000000000\n")
    systemd.boot(None)
    systemd.state("asleep")
    done = ["is-system-running", "is-system-running", "stop serial-getty@ttyS0.service"]
    assert systemd.read("systemctl.log").splitlines() == done
    systemd.send({**FILES, "ssh_host_ed25519_key": "one\n"})
    # Nothing is there that could be hidden below another id: this is said, and counts.
    lines = systemd.state("booted")
    assert lines == ["boot 6.1.0", "asleep", "boot 6.1.0", "error it has the boot id of its template", "booted 1.50"]
    ids = [systemd.read("etc/machine-id"), systemd.read("run/benito/boot_id")]
    assert re.fullmatch(r"[0-9a-f]{12}4[0-9a-f]{3}a[0-9a-f]{15}\n", ids[0]), ids
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-a[0-9a-f]{3}-[0-9a-f]{12}\n", ids[1]), ids
    assert ids[0].strip() != ids[1].replace("-", "").strip()
    deadline = time.monotonic() + 10
    while len(said := systemd.read("systemctl.log").splitlines()) < 5 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert sorted(said[3:]) == ["--no-block restart systemd-journald.service serial-getty@ttyS0.service", "restart ssh.service"]


@pytest.mark.skipif(not shutil.which("ssh-keygen"), reason="ssh-keygen is not here")
def test_without_a_key_from_the_host_sshd_gets_one_of_its_own(systemd: Guest) -> None:
    systemd.boot(FILES)
    systemd.state("booted")
    assert "OPENSSH PRIVATE KEY" in systemd.read("etc/ssh/ssh_host_ed25519_key")
    assert systemd.read("systemctl.log") == "start ssh.service\n"


@pytest.mark.parametrize("word", ["poweroff", "reboot"])
def test_where_systemd_runs_it_ends_the_guest(systemd: Guest, word: str) -> None:
    systemd.boot({**FILES, "ssh_host_ed25519_key": "one\n"})
    systemd.state("booted")
    os.write(systemd.port, f"{word}\n".encode())
    systemd.send({**FILES, "key": "k2\n", "ssh_host_ed25519_key": "one\n"})
    systemd.state("configured k2")
    assert systemd.read("systemctl.log").splitlines()[1] == f"--no-block --job-mode=replace-irreversibly start {word}.target"


def test_routes_are_installed_by_name(tmp_path: Path) -> None:
    (tmp_path / "route").mkdir()
    (tmp_path / "route/alpha").write_text("10.1.0.0/24 10.0.0.2 eth1\n\n")
    (tmp_path / "ip").write_text('#!/bin/sh\necho "$*"\ncat\n')
    (tmp_path / "ip").chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    script = str(GUEST / "routes.sh")
    done = subprocess.run(["sh", script, str(tmp_path), "alpha"], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "-force -batch -\nroute replace 10.1.0.0/24 via 10.0.0.2 dev eth1\n"
    missing = subprocess.run(["sh", script, str(tmp_path), "beta"], env=environment, capture_output=True, text=True, check=False)
    assert missing.returncode == 1
    assert "beta" in missing.stderr


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="shellcheck is not here")
def test_shellcheck() -> None:
    subprocess.run(["shellcheck", *(str(GUEST / name) for name in ("init", "disk-init", "benito-agent", "routes.sh"))], check=True)


CLIENT = {
    **FILES,
    "interfaces": FILES["interfaces"].replace("10.0.0.1/30", "-"),
    "dhcp": "client eth1 10.0.0.1/30\n",
}


def test_an_address_that_is_to_come_holds_nothing_up(guest: Guest) -> None:
    guest.boot(CLIENT)
    assert guest.state("booted") == ["boot 6.1.0", "configured k1", "booted 1.50"]
    [batch] = guest.batches()
    assert "link set dev eth1 up" in batch
    assert not [line for line in batch if "10.0.0.1" in line or line.startswith("route replace 10.1.0.0/24")]
    assert guest.read("var/emulab/boot/ifmap") == "eth1 10.0.0.1 020000000002\n"


def lease(guest: Guest, event: str, address: str, device: str = "eth1", **more: str) -> str:
    """Call the agent as udhcpc does; return what it says to the host."""
    environment = {**os.environ, "BENITO_ROOT": str(guest.root), "interface": device, "ip": address, "mask": "30", **more}
    said = guest.root / "said"
    words = [*guest.shell, str(GUEST / "benito-agent"), event]
    subprocess.run(["sh", "-c", 'exec "$@" 7>"$0"', str(said), *words], env=environment, check=True)
    return said.read_text()


def test_a_lease_brings_the_address_and_its_routes(guest: Guest) -> None:
    guest.boot(CLIENT)
    guest.state("booted")
    place = guest.root / "run/benito/dhcp/eth1"
    # ip reads its batches from a file or from its input.
    guest.write("sbin/ip", f'#!/bin/sh\n[ "$2" != -batch ] && echo "$@" >>{guest.root}/ip.log || cat >>{guest.root}/ip.log\n')
    guest.write("ip.log", "")
    assert lease(guest, "bound", "10.0.0.1") == ""
    assert guest.read("ip.log").splitlines() == [
        "address replace 10.0.0.1/30 brd + dev eth1",
        "route replace 10.1.0.0/24 via 10.0.0.2 dev eth1",
    ]
    assert (place / "address").read_text() == "10.0.0.1/30\n"
    assert lease(guest, "bound", "10.0.0.9") == "error dhcp eth1: it was given 10.0.0.9/30, and 10.0.0.1/30 was planned\n"
    assert lease(guest, "renew", "10.0.0.9") == "", "said once"
    assert lease(guest, "bound", "10.0.0.1") == "mended dhcp eth1\n"
    lease(guest, "deconfig", "")
    assert not (place / "address").exists()


def test_what_the_labs_server_gives_is_reported(guest: Guest) -> None:
    interfaces = FILES["interfaces"].replace("192.168.77.1/24", "-")
    guest.boot({**FILES, "interfaces": interfaces, "gateway": "", "dhcp": "client eth0 -\n"})
    assert guest.state("booted") == ["boot 6.1.0", "configured k1", "booted 1.50"]
    assert not (guest.root / "var/emulab/boot/myip").exists()
    guest.write("sbin/ip", f'#!/bin/sh\n[ "$2" != -batch ] && echo "$@" >>{guest.root}/ip.log || cat >>{guest.root}/ip.log\n')
    guest.write("ip.log", "")
    assert lease(guest, "bound", "192.0.2.40", "eth0", mask="24", router="192.0.2.1 192.0.2.2") == "control-address 192.0.2.40\n"
    assert guest.read("ip.log").splitlines() == [
        "address replace 192.0.2.40/24 brd + dev eth0",
        "route replace default via 192.0.2.1 dev eth0",
    ]
    files = [guest.read(f"var/emulab/boot/{name}").strip() for name in ("myip", "mynetmask", "routerip", "controlif")]
    assert files == ["192.0.2.40", "255.255.255.0", "192.0.2.1", "eth0"]


def test_an_interface_that_is_given_its_address_after_all(guest: Guest) -> None:
    guest.boot(CLIENT)
    guest.state("booted")
    guest.write("run/benito/dhcp/eth1/address", "10.0.0.1/30\n")
    guest.send({**FILES, "key": "k2\n"})
    guest.state("configured k2")
    assert not (guest.root / "run/benito/dhcp/eth1").exists()
    assert "address replace 10.0.0.1/30 brd + dev eth1" in guest.batches()[-1]


def test_a_server_leases_what_is_planned_and_nothing_to_strangers(guest: Guest) -> None:
    leases = "server eth1 30\nlease eth1 02:00:00:00:00:09 10.0.0.2 beta\n"
    guest.boot({**FILES, "dhcp": leases})
    guest.state("booted")
    lines = guest.read("run/benito/dhcp/eth1/udhcpd.conf").splitlines()
    assert {"interface eth1", "start 10.0.0.2", "end 10.0.0.2", "option subnet 255.255.255.252"} <= set(lines)
    assert [line for line in lines if line.startswith("static_lease")] == ["static_lease 02:00:00:00:00:09 10.0.0.2"]
    assert guest.state("booted")[1] == "configured k1"


def test_a_mount_that_fails_is_said_and_the_start_command_runs(guest: Guest) -> None:
    guest.write("proc/mounts", "")
    guest.boot({**FILES, "mounts": "nowhere /data no-such-fs ro\n", "start_command": "true\n"})
    lines = guest.state("start-command exit")
    assert lines[:3] == ["boot 6.1.0", "configured k1", "booted 1.50"]
    [error] = [line for line in lines if line.startswith("error")]
    assert error.startswith("error mount /data: ")
    assert lines.index(error) < lines.index("start-command running")


def test_shaping_that_cannot_be_is_an_error(guest: Guest) -> None:
    guest.boot({**FILES, "netem": "bn-nowhere out delay 5ms\n"})
    lines = guest.state("booted")
    assert lines[1].startswith("error netem bn-nowhere out: ")
    assert "configured k1" not in lines
