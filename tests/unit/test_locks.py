# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""What setup installs: the locks as they are, and the script itself with an index that gives out something else."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCKS = sorted(path.relative_to(ROOT) for place in (".", "tools", "tests/bench") for path in (ROOT / place).glob("*.lock"))
ENTRY = re.compile(r"(?P<name>[a-z0-9-]+)==(?P<version>[^ ;]+)(?: ; [^\\]+)?(?: \\\n    --hash=sha256:[0-9a-f]{64})+")


def entries(lock: Path) -> dict[str, str]:
    """Return the version of each library in a lock, which must be nothing but libraries with hashes."""
    text = re.sub(r"^#.*\n", "", lock.read_text(), flags=re.MULTILINE)
    assert ENTRY.sub("", text).split() == []
    return {match["name"]: match["version"] for match in ENTRY.finditer(text)}


def test_there_are_locks() -> None:
    assert {str(path) for path in LOCKS} >= {
        "requirements.lock",
        "requirements-dev.lock",
        "tools/builders.lock",
        "tests/bench/requirements.lock",
    }


@pytest.mark.parametrize("lock", LOCKS, ids=str)
def test_each_library_has_one_version_and_hashes(lock: Path) -> None:
    locked = entries(ROOT / lock)
    wanted = (ROOT / lock).with_suffix(".txt").read_text()
    for name, version in re.findall(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^ \n]+)", wanted, re.MULTILINE):
        assert locked[re.sub(r"[._]+", "-", name).lower()] == version, f"run make lock: {lock} is older than {name}=={version}"


def test_tests_run_with_what_a_controller_runs() -> None:
    assert entries(ROOT / "requirements.lock").items() <= entries(ROOT / "requirements-dev.lock").items()


def wheel(directory: Path, text: str) -> str:
    """Put a library of one file into a directory; return its digest."""
    path = directory / "trusted-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("trusted.py", text)
        file.writestr("trusted-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: trusted\nVersion: 1.0\n")
        file.writestr("trusted-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr("trusted-1.0.dist-info/RECORD", "")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_an_index_that_gives_out_something_else_installs_nothing(tmp_path: Path) -> None:
    (tmp_path / "index").mkdir()
    (tmp_path / "bin").mkdir()
    (tmp_path / "tools").mkdir()
    shutil.copy(ROOT / "tools/setup.sh", tmp_path / "tools")
    # All packages of the host are there.
    (tmp_path / "bin/dpkg-query").write_text('#!/bin/sh\nshift 2\nfor name; do echo "installed $name"; done\n')
    (tmp_path / "bin/dpkg-query").chmod(0o755)
    lock = f"trusted==1.0 --hash=sha256:{wheel(tmp_path / 'index', 'good = True')}\n"
    for name, text in (
        ("requirements.txt", "trusted==1.0\n"),
        ("constraints.txt", ""),
        ("requirements.lock", lock),
        ("tools/builders.lock", ""),
    ):
        (tmp_path / name).write_text(text)
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("PIP_")},
        "PATH": f"{tmp_path}/bin:{os.environ['PATH']}",
        "PYTHON": sys.executable,
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(tmp_path / "index"),
        "PIP_NO_CACHE_DIR": "1",
    }

    def setup() -> subprocess.CompletedProcess[str]:
        return subprocess.run([tmp_path / "tools/setup.sh"], env=environment, capture_output=True, text=True, check=False)

    def holds() -> list[str]:
        return [path.read_text() for path in (tmp_path / ".venv").glob("lib/*/site-packages/trusted.py")]

    wheel(tmp_path / "index", "evil = True")
    done = setup()
    assert (done.returncode == 0, holds()) == (False, [])
    assert "DO NOT MATCH THE HASHES" in done.stderr
    wheel(tmp_path / "index", "good = True")
    (tmp_path / "requirements.lock").write_text(lock.split(" ", maxsplit=1)[0] + "\n")
    assert (setup().returncode == 0, holds()) == (False, [])
    digest = hashlib.sha256((tmp_path / "index/trusted-1.0-py3-none-any.whl").read_bytes()).hexdigest()
    (tmp_path / "requirements.lock").write_text(f"trusted==1.0 --hash=sha256:{digest}\n")
    done = setup()
    assert (done.returncode, holds()) == (0, ["good = True"]), done.stderr
    assert setup().stdout == "", "nothing to do"
