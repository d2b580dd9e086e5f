# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""What root in a process node tries against its host, against nodes of another experiment, and against the one who enters it."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ansible_collections.benito.testbed.plugins.module_utils import node_limits, process_nodes, vde
from ansible_collections.benito.testbed.plugins.module_utils.node_programs import spaces
from ansible_collections.benito.testbed.plugins.module_utils.rundir import RunDir

from .test_process_nodes import Bench, described, until

pytestmark = pytest.mark.usefixtures("root_user", "account")


@pytest.fixture
def both(rundir: RunDir) -> Iterator[tuple[Bench, Bench]]:
    """Two experiments on a host, each with a node that is called a."""
    made = (Bench(rundir), Bench(RunDir("lab", "other", "lab.other", rundir.root)))
    try:
        for bench in made:
            bench.rundir.create()
            bench.wire()
            bench.up(described("a", 1, start_command="sleep 1000 &"))
        yield made
    finally:
        for bench in made:
            process_nodes.clear(bench.rundir)
            for id_ in vde.known(bench.rundir):
                vde.halt(bench.rundir, id_)


@pytest.fixture
def bench(both: tuple[Bench, Bench]) -> Bench:
    return both[0]


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory of the host that everybody may write to, at a place that is nobody's temporary one."""
    made = Path(tempfile.mkdtemp(prefix="benito-test-", dir="/opt"))
    made.chmod(0o1777)
    yield made
    shutil.rmtree(made)


def python(bench: Bench, script: str, node: str = "a") -> str:
    """Return what a script prints in a node."""
    done = bench.run(node, "python3", "-c", script)
    assert done.returncode == 0, done
    return done.stdout


# Nodes of two experiments


def test_no_file_is_planted_in_the_home_of_another_experiment(both: tuple[Bench, Bench]) -> None:
    one, other = both
    home = f"{other.rundir.guest('a')}/root"
    # There is nothing of it to be seen, whatever the modes are.
    assert one.run("a", "ls", "-A", other.rundir.path).stdout == ""
    one.run("a", "sh", "-c", f"echo 'touch /tmp/taken' >{home}/.profile; mkdir -p {home}/.ssh; echo key >>{home}/.ssh/authorized_keys")
    assert not os.path.exists(f"{home}/.profile")
    assert Path(f"{home}/.ssh/authorized_keys").read_text() == ""
    assert one.run("a", "test", "-e", f"{other.rundir.path}/nodes/programs/__main__.py").returncode == 1


def test_ids_of_one_experiment_are_not_those_of_another(both: tuple[Bench, Bench]) -> None:
    owners = []
    for bench in both:
        bench.up(described("a", 1, start_command="sleep 1000"), restart=True)
        pid = bench.infos()["a"]["pid"]
        owners.append(os.stat(f"/proc/{pid}").st_uid)
        assert os.stat(f"{bench.rundir.guest('a')}/root").st_uid == owners[-1]
    assert owners[0] != owners[1]
    assert 0 not in owners


@pytest.mark.parametrize("place", ["/tmp", "/var/tmp", "/dev/shm"])
def test_temporary_files_are_seen_by_nobody_else_and_are_not_left(both: tuple[Bench, Bench], place: str) -> None:
    one, other = both
    name = f"{place}/benito-{os.getpid()}"
    try:
        one.out("a", f"echo mine >{name}; chmod 666 {name}")
        assert one.out("a", f"cat {name}") == "mine\n"
        assert other.run("a", "test", "-e", name).returncode == 1
        assert not os.path.exists(name)
        # It is bounded.
        assert one.run("a", "dd", "if=/dev/zero", f"of={name}", "bs=1M", "count=300").returncode != 0
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)


def test_system_v_memory_is_the_nodes_own(both: tuple[Bench, Bench]) -> None:
    one, other = both
    made = one.out("a", "ipcmk -M 4096 -p 0666").split()[-1]
    try:
        assert made in one.out("a", "ipcs -m").split()
        assert made not in other.out("a", "ipcs -m").split()
        assert made not in subprocess.run(["ipcs", "-m"], capture_output=True, text=True, check=True).stdout.split()
    finally:
        subprocess.run(["ipcrm", "-m", made], capture_output=True, check=False)


def test_no_process_of_another_experiment_gets_a_signal(both: tuple[Bench, Bench]) -> None:
    one, other = both
    victim = other.infos()["a"]["pid"]
    one.run("a", "sh", "-c", f"kill -9 {victim}; kill -9 -1")
    assert until(lambda: one.infos()["a"]["pid"] is None)
    assert other.infos()["a"]["pid"] == victim


def test_notices_of_files_are_counted_for_the_experiment_and_not_for_the_host(bench: Bench) -> None:
    most = int(Path("/proc/sys/fs/inotify/max_user_instances").read_text())
    hoard = (
        f"import ctypes, time\nl = ctypes.CDLL(None)\n[l.inotify_init() for _ in range({most + 10})]\nprint(1, flush=True)\ntime.sleep(60)"
    )
    argv = [f"{bench.rundir.path}/nodes/enter", "a", "--", "python3", "-c", hoard]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout and process.stdout.readline() == "1\n"
            ours = [sys.executable, "-c", "import ctypes; raise SystemExit(ctypes.CDLL(None).inotify_init() < 0)"]
            assert subprocess.run(ours, check=False).returncode == 0
        finally:
            process.kill()


# The host


def test_nothing_of_the_host_is_written_and_nothing_there_gives_rights(bench: Bench, open_directory: Path) -> None:
    for command in (f"touch {open_directory}/made", f"mkdir {open_directory}/made", "touch /run/lock/../../opt/made"):
        assert bench.run("a", "sh", "-c", command).returncode != 0, command
    assert os.listdir(open_directory) == []
    for command in ("cp /bin/true ~/t; chmod 4755 ~/t", "install -m 4755 /bin/true ~/t", "cp /bin/true /tmp/t; chmod u+s /tmp/t"):
        assert bench.run("a", "sh", "-c", command).returncode != 0, command
    made = "import os; os.umask(0); os.open('/root/made', os.O_CREAT | os.O_WRONLY, 0o4755)"
    assert bench.run("a", "python3", "-c", made).returncode != 0
    home = Path(f"{bench.rundir.guest('a')}/root")
    assert [path for path in home.rglob("*") if path.lstat().st_mode & 0o4000] == []
    options = {line.split()[4]: line.split()[5].split(",") for line in bench.out("a", "cat /proc/self/mountinfo").splitlines()}
    # Three files of root's, which nobody in the node can change.
    files = ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf"]
    assert [place for place, words in options.items() if "nosuid" not in words and place not in files] == []
    options = {place: words for place, words in options.items() if place not in files}
    assert [place for place, words in options.items() if "nodev" not in words and "ro" not in words] == ["/dev/pts"]


def test_writable_shares_give_no_rights(bench: Bench, open_directory: Path) -> None:
    bench.shares = [("/work", str(open_directory), True)]
    bench.up(described("a", 1))
    assert bench.out("a", "echo hello >/work/file; cat /work/file") == "hello\n"
    assert bench.run("a", "sh", "-c", "cp /bin/true /work/t; chmod 4777 /work/t").returncode != 0
    words = next(line for line in bench.out("a", "cat /proc/self/mountinfo").splitlines() if line.split()[4] == "/work").split()
    assert {"rw", "nosuid", "nodev"} <= set(words[5].split(","))


def test_services_of_the_host_are_not_reached_by_their_sockets(bench: Bench) -> None:
    path = f"/run/benito-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        try:
            os.chmod(path, 0o777)
            server.listen(1)
            ask = f"import socket; socket.socket(socket.AF_UNIX).connect({path!r})"
            done = bench.run("a", "python3", "-c", ask)
            assert done.returncode != 0
            assert not select.select([server], [], [], 0)[0]
        finally:
            os.unlink(path)
    # A node's own ones have their place.
    assert bench.out("a", "mkdir /run/mine && echo made") == "made\n"


def test_devices_are_those_that_every_program_needs(bench: Bench) -> None:
    allowed = {"null", "zero", "full", "random", "urandom", "tty", "net", "ptmx", "pts", "shm", "fd", "stdin", "stdout", "stderr"}
    assert set(bench.out("a", "ls /dev").split()) == allowed
    assert bench.out("a", "echo lost >/dev/null; head -c 4 /dev/zero | wc -c; echo said >/dev/stdout").split() == ["4", "said"]
    assert bench.run("a", "mknod", "/tmp/disk", "b", "8", "0").returncode != 0


def test_calls_that_reach_past_a_node_are_refused(bench: Bench) -> None:
    script = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *words):
    ctypes.set_errno(0)
    libc.syscall(ctypes.c_long(number), *words)
    return ctypes.get_errno()
numbers = {"x86_64": (250, 321, 298, 323), "aarch64": (219, 280, 241, 282)}[os.uname().machine]
print([call(number, *[ctypes.c_long(0)] * 5) for number in (*numbers, 425, 430)])
master, slave = os.openpty()
print(call({"x86_64": 16, "aarch64": 29}[os.uname().machine], ctypes.c_long(slave), ctypes.c_long(0x5412), b"x"))
"""
    assert python(bench, script).splitlines() == [str([1, 1, 1, 1, 38, 38]), "1"]
    assert "NoNewPrivs:\t1" in bench.out("a", "cat /proc/self/status")


def test_a_node_may_still_do_what_nodes_do(bench: Bench) -> None:
    bench.out("a", "unshare --net ip link set lo up")
    bench.out("a", "nft add table inet mine && nft list tables | grep mine")
    bench.out("a", "setpriv --reuid=33 --regid=33 --clear-groups ping -c 1 -W 3 127.0.0.1")
    bench.out("a", "unshare --user --map-root-user --mount sh -c 'mount -t tmpfs none /mnt'")


def test_there_are_limits_which_can_be_raised(bench: Bench) -> None:
    shown = "import resource as r; print(*map(r.getrlimit, (r.RLIMIT_NOFILE, r.RLIMIT_NPROC, r.RLIMIT_CORE)))"
    assert python(bench, shown).strip() == "(1024, 16384) (4096, 4096) (1, 1)"
    made = "import os, time\nn = 0\ntry:\n  while n < 400:\n    n += 1\n    if not os.fork(): time.sleep(60)\nexcept OSError: pass\n"
    end = "print(n)\nimport signal; signal.signal(15, signal.SIG_IGN); os.kill(-1, 15)"
    bench.limits = {"processes": 50}
    bench.up(described("a", 1), restart=True)
    assert int(python(bench, made + end)) < 60
    bench.limits = {"processes": 1000, "files": 2000}
    bench.up(described("a", 1), restart=True)
    assert int(python(bench, made + end)) == 400
    assert python(bench, shown).strip() == "(1024, 2000) (1000, 1000) (1, 1)"


def test_the_nodes_of_an_experiment_have_a_bound_of_memory(bench: Bench) -> None:
    if "memory" not in node_limits.hierarchies():
        pytest.skip("needs control groups of version 1")
    bench.limits = {"memory": 64}
    bench.up(described("a", 1), restart=True)
    assert bench.run("a", "python3", "-c", "x = b'x' * (200 << 20)").returncode != 0
    bench.limits = {}
    bench.up(described("a", 1), restart=True)
    assert bench.run("a", "python3", "-c", "x = b'x' * (200 << 20)").returncode == 0


def test_what_an_experiment_keeps_is_not_for_others_to_read(bench: Bench) -> None:
    """Of all below its directory others read the programs, which anybody may have."""
    read = (
        "import os, sys\nos.setgroups([])\nos.setresgid(65533, 65533, 65533)\nos.setresuid(65533, 65533, 65533)\n"
        "for path in sys.stdin.read().split('\\0'):\n  try: open(path, 'rb').close()\n  except OSError: pass\n  else: print(path)"
    )
    paths = [str(path) for path in Path(bench.rundir.path).rglob("*") if path.is_file()]
    assert any("keeper.log" in path for path in paths) and any("start_command.out" in path for path in paths)
    done = subprocess.run([sys.executable, "-c", read], input="\0".join(paths), capture_output=True, text=True, check=True)
    found = {os.path.relpath(path, f"{bench.rundir.path}/nodes") for path in done.stdout.splitlines()}
    assert {name for name in found if not name.startswith("programs/")} == {"../console", "enter", "empty", "ssh_host_ed25519_key.pub"}


def test_nobody_takes_over_who_enters(bench: Bench) -> None:
    """A process of the host's root that has gone into the node, and is not yet another program, cannot be traced by the node's root."""
    found = bench.state()["nodes"]["a"]["spaces"]
    keeper = bench.keeper()
    handles = {name: os.open(f"/proc/{keeper}/fd/{number}", os.O_RDONLY) for name, number in found.items()}
    inside = os.open(f"/proc/{keeper}/fd/{bench.state()['inside']}", os.O_RDONLY)
    reader, writer = os.pipe()
    middle = os.fork()
    if middle == 0:
        spaces.call("setns", inside, spaces.CLONE_NEWPID)
        child = os.fork()
        if child == 0:
            spaces.enter(handles)
            os.write(writer, b"+")
            signal.pause()
        os._exit(os.waitpid(child, 0)[1] and 0)
    try:
        assert os.read(reader, 1) == b"+"
        # PTRACE_SEIZE, and what it would be good for.
        attack = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
for pid in range(2, 400):
    if pid != os.getpid() and libc.ptrace(0x4206, pid, None, None) == 0:
        uid = [line for line in open(f"/proc/{pid}/status") if line.startswith("Uid:")][0].split()[1]
        print("traced" if uid == "65534" else "own")
"""
        assert "traced" not in python(bench, attack)
    finally:
        (entered,) = Path(f"/proc/{middle}/task/{middle}/children").read_text().split()
        os.kill(int(entered), signal.SIGKILL)
        os.waitpid(middle, 0)
        for handle in (*handles.values(), inside, reader, writer):
            os.close(handle)


# The one who enters


def test_the_ssh_server_of_a_node_gets_no_terminal_of_who_enters(bench: Bench) -> None:
    """An ssh hands its own terminal to its ProxyCommand, for complaints; the node's root could use it through the server."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv("/bin/sh", ["/bin/sh", "-c", 'sleep 60 | "$1" a | cat', "sh", f"{bench.rundir.path}/nodes/enter"])

    def servers() -> list[int]:
        shown = subprocess.run(["ps", "-A", "-o", "pid=,args="], capture_output=True, text=True, check=True).stdout
        found = [int(line.split()[0]) for line in shown.splitlines() if line.split()[1:4] == ["dropbear", "-i", "-s"]]
        return [each for each in found if os.stat(f"/proc/{each}").st_uid == os.stat(f"{bench.rundir.guest('a')}/root").st_uid]

    try:
        assert until(servers)
        ours = os.stat(f"/proc/{pid}/fd/2")
        for each in servers():
            for number in os.listdir(f"/proc/{each}/fd"):
                found = os.stat(f"/proc/{each}/fd/{number}")
                assert (found.st_dev, found.st_ino) != (ours.st_dev, ours.st_ino)
    finally:
        os.close(terminal)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


TYPE = """
import fcntl, os, termios
for handle in (0, 1, 2, *(os.open(path, os.O_RDWR) for path in ("/dev/tty",) if os.access(path, os.W_OK))):
    try:
        for letter in "touch taken":
            fcntl.ioctl(handle, termios.TIOCSTI, letter.encode())
        fcntl.ioctl(handle, termios.TIOCSTI, b"\\n")
    except OSError:
        pass
"""


def on_terminal(script: str, *words: str) -> tuple[str, int]:
    """Run a shell's script on a terminal, where somebody presses Enter each second; returns what is shown and the exit status."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv("/bin/sh", ["/bin/sh", "-c", script, "sh", *words])
    shown, until_ = b"", time.monotonic() + 30
    with contextlib.suppress(OSError):
        while time.monotonic() < until_:
            if select.select([terminal], [], [], 1)[0]:
                shown += os.read(terminal, 4096)
            else:
                os.write(terminal, b"\n")
    os.close(terminal)
    return shown.decode(errors="replace"), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.parametrize("end", ["| cat", ">/dev/null", "2>/dev/null"])
def test_nothing_is_typed_into_the_terminal_of_who_enters(bench: Bench, end: str) -> None:
    script = f'"$1" a -- python3 -c "$2" {end}; read line; echo "typed: <$line>"'
    shown, status = on_terminal(script, f"{bench.rundir.path}/nodes/enter", TYPE)
    assert status == 0
    assert "typed: <>" in shown, shown


@pytest.mark.parametrize("way", ["{} | cat", "{} >/dev/null", "{}", "cat | {}"])
def test_a_program_in_a_node_has_another_session_and_terminal(bench: Bench, way: str) -> None:
    """As the kernel shows it, also where it refuses to type for others."""
    enter = '"$1" a -- sleep 987'
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv("/bin/sh", ["/bin/sh", "-c", f"{way.format(enter)}; exit 3", "sh", f"{bench.rundir.path}/nodes/enter"])

    def sleepers() -> list[int]:
        shown = subprocess.run(["ps", "-A", "-o", "pid=,args="], capture_output=True, text=True, check=True).stdout
        return [int(line.split()[0]) for line in shown.splitlines() if line.split()[1:] == ["sleep", "987"]]

    try:
        assert until(sleepers)
        (found,) = sleepers()
        ours = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        theirs = Path(f"/proc/{found}/stat").read_text().rpartition(")")[2].split()
        # Session and terminal; two instances of devpts can have the same numbers, so that it is the file that counts.
        assert ours[3] != theirs[3]
        assert os.stat(f"/proc/{pid}/fd/2").st_dev != os.stat(f"/proc/{found}/fd/2").st_dev
        held = {os.stat(f"/proc/{found}/fd/{number}") for number in os.listdir(f"/proc/{found}/fd")}
        mine = {os.stat(f"/proc/{pid}/fd/{number}") for number in ("0", "1", "2")}
        assert not {(item.st_dev, item.st_ino) for item in held} & {(item.st_dev, item.st_ino) for item in mine}
        os.kill(found, signal.SIGKILL)
    finally:
        os.close(terminal)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_no_descriptor_of_who_enters_is_inherited(bench: Bench, tmp_path: Path) -> None:
    secret, log = tmp_path / "secret", tmp_path / "log"
    secret.write_text("secret")
    log.write_text("before\n")
    with secret.open() as kept, log.open("a") as output, secret.open() as given:
        argv = [f"{bench.rundir.path}/nodes/enter", "a", "--", "python3", "-c"]
        script = "import os; print(sorted(map(int, os.listdir('/proc/self/fd')))[:-1], flush=True); os.ftruncate(1, 0)"
        done = subprocess.run([*argv, script], stdin=given, stdout=output, stderr=subprocess.PIPE, pass_fds=[kept.fileno()], check=False)
    # What was there before cannot be taken away by who was to add something.
    assert done.returncode != 0
    assert log.read_text() == "before\n[0, 1, 2]\n"


def test_what_is_said_and_asked_goes_through(bench: Bench, tmp_path: Path) -> None:
    argv = [f"{bench.rundir.path}/nodes/enter", "a", "--", "sh", "-c"]
    big = bytes(range(256)) * 8192
    done = subprocess.run([*argv, "cat; echo wrong >&2; exit 7"], input=big, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout == big, done.stderr) == (7, True, b"wrong\n")
    # Who listens no more ends it, and who stays behind holds nobody up.
    done = subprocess.run(f"{argv[0]} a -- yes | head -n 1", shell=True, capture_output=True, timeout=60, check=True)
    assert done.stdout == b"y\n"
    done = subprocess.run([*argv, "sleep 986 & echo said"], capture_output=True, timeout=20, check=True, stdin=subprocess.DEVNULL)
    assert done.stdout == b"said\n"
    # Without the first three.
    done = subprocess.run(f"{argv[0]} a -- sh -c 'exit 5' <&- >&- 2>&-", shell=True, timeout=60, check=False)
    assert done.returncode == 5
    shown, status = on_terminal('"$1" a -- sh -c "read x; echo got \\$x; test -t 0 && test ! -t 1 && exit 4" | cat; exit 6', argv[0])
    assert (status, "got" in shown) == (6, True)


def test_a_link_in_a_nodes_own_place_leads_nobody_astray(own_network: Callable[[Callable[[], None]], None], bench: Bench) -> None:
    """On many hosts a file that a node has of its own is a link into /run, which belongs to the node's root."""

    def test() -> None:
        for command in (
            "mount -t tmpfs tmpfs /mnt",
            "mkdir /mnt/upper /mnt/work",
            "mount -t overlay -o lowerdir=/etc,upperdir=/mnt/upper,workdir=/mnt/work overlay /etc",
            "mount -t tmpfs tmpfs /var/cache",
            "mkdir /var/cache/benito",
            "ln -sf ../run/systemd/resolve/stub-resolv.conf /etc/resolv.conf",
        ):
            subprocess.run(command.split(), check=True)
        process_nodes.clear(bench.rundir)
        try:
            bench.up(described("a", 1))
            assert bench.out("a", "cat /etc/resolv.conf; readlink -f /etc/resolv.conf") == "/run/systemd/resolve/stub-resolv.conf\n"
            # What covers the roots would be taken away in the place of the file.
            root = "/var/cache/benito"
            before = bench.out("a", "cat /proc/self/mountinfo").splitlines()
            place = "/run/systemd/resolve"
            bench.out("a", f"mv /run/systemd /run/old; mkdir -p {place}; ln -s {root} {place}/stub-resolv.conf")
            node = described("a", 1, routes=[{"to": "10.99.7.0/24", "via": "192.0.2.1", "device": "eth1"}])
            for dummy in range(2):
                # A configuration that cannot be taken lets all files be exchanged at the next try.
                assert bench.up(node)["a"]["failed"]
            after = bench.out("a", "cat /proc/self/mountinfo").splitlines()
            assert [line.split()[4] for line in before if line.split()[4].startswith("/var/")] == [
                line.split()[4] for line in after if line.split()[4].startswith("/var/")
            ]
            bench.table = [["a", "lan0", 0, "10.99.0.1"], ["z", "lan0", 0, "10.99.0.77"]]
            bench.up(described("a", 1))
            assert "10.99.0.77" in bench.out("a", "cat /etc/hosts")
        finally:
            process_nodes.clear(bench.rundir)

    own_network(test)


def test_places_that_are_links_on_the_host_are_found(own_network: Callable[[Callable[[], None]], None], bench: Bench) -> None:
    """As in machines that carry nodes, which have /var/benito themselves, and /var/containers as a link to it."""

    def test() -> None:
        for command in (
            "mount -t tmpfs tmpfs /mnt",
            "mkdir /mnt/upper /mnt/work",
            "mount -t overlay -o lowerdir=/var,upperdir=/mnt/upper,workdir=/mnt/work overlay /var",
            "mkdir /var/benito",
            "ln -s benito /var/containers",
        ):
            subprocess.run(command.split(), check=True)
        process_nodes.clear(bench.rundir)
        try:
            assert bench.up(described("a", 1))["a"]["state"] == "booted"
            assert bench.out("a", "cat /var/benito/config/pid_eid /var/containers/config/pid_eid").split() == ["lab", "demo"] * 2
        finally:
            process_nodes.clear(bench.rundir)

    own_network(test)
