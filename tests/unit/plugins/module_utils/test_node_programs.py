# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The programs of process nodes as they are put on a host: complete, alone with the standard library, and nobody else's."""

from __future__ import annotations

import ast
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from ansible_collections.benito.testbed.plugins.module_utils import node_programs, node_supervisor
from ansible_collections.benito.testbed.plugins.module_utils.rundir import RunDir

SOURCES = sorted(Path(node_programs.__path__[0]).glob("*.py"))


@pytest.fixture
def home(rundir: RunDir) -> str:
    """A directory of nodes with the programs in it."""
    path = node_supervisor.directory(rundir)
    os.mkdir(path)
    before = os.umask(0o077)
    try:
        node_supervisor.install(path)
    finally:
        os.umask(before)
    return path


def listing(home: str) -> dict[str, int]:
    """Return the mode of each file and directory."""
    return {str(path.relative_to(home)): stat.S_IMODE(path.stat().st_mode) for path in Path(home).rglob("*")}


def entered(home: str, *words: str, **more: object) -> subprocess.CompletedProcess[str]:
    argv = [f"{home}/enter", *words]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL, **more)


def test_all_of_them_are_installed_and_everybody_can_read_them(home: str) -> None:
    names = [path.name for path in SOURCES if path.name != "start.py"]
    assert listing(home) == {
        "enter": 0o755,
        "programs": 0o755,
        "programs/__main__.py": 0o644,
        "programs/node_programs": 0o755,
        **{f"programs/node_programs/{name}": 0o644 for name in names},
    }
    for name in names:
        assert Path(f"{home}/programs/node_programs/{name}").read_bytes() == SOURCES[0].with_name(name).read_bytes()


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_they_need_the_standard_library_and_each_other(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            assert {alias.name.partition(".")[0] for alias in node.names} <= sys.stdlib_module_names
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 1 or (node.level == 0 and str(node.module).partition(".")[0] in sys.stdlib_module_names)


def test_what_is_not_as_we_put_it_is_seen_and_replaced(rundir: RunDir, home: str) -> None:
    assert node_supervisor.current(rundir)
    for name in ("programs/__main__.py", "programs/node_programs/__init__.py", "programs/node_programs/making.py", "enter"):
        os.unlink(f"{home}/{name}")
        assert not node_supervisor.current(rundir), name
        node_supervisor.install(home)
        assert node_supervisor.current(rundir), name
    Path(f"{home}/programs/node_programs/spaces.py").write_text("# of another version\n")
    Path(f"{home}/programs/node_programs/old.py").write_text("# of another version\n")
    assert not node_supervisor.current(rundir)
    node_supervisor.install(home)
    assert node_supervisor.current(rundir)
    assert not os.path.exists(f"{home}/programs/node_programs/old.py")


@pytest.mark.usefixtures("root_user")
def test_nobody_else_has_a_say_in_what_they_import(home: str, tmp_path: Path) -> None:
    Path(f"{home}/nodes.json").write_text('{"nodes": []}')
    before = listing(home)
    for name in ("json", "ctypes", "node_programs", "sitecustomize", "usercustomize"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('not ours')\n")
        Path(f"{home}/{name}.py").write_text("raise SystemExit('not ours')\n")
    others = {"PYTHONPATH": str(tmp_path), "PYTHONHOME": str(tmp_path), "PYTHONSTARTUP": str(tmp_path / "json.py"), "HOME": str(tmp_path)}
    for folder in (str(tmp_path), home):
        done = entered(home, "a b", "--", "true", cwd=folder, env={**os.environ, **others})
        assert (done.returncode, done.stderr) == (255, "enter: there is no node a b that is up here\n")
    for name in ("json", "ctypes", "node_programs", "sitecustomize", "usercustomize"):
        os.unlink(f"{home}/{name}.py")
    # And nothing is left beside them, which would be taken for them another time.
    assert listing(home) == before


@pytest.mark.usefixtures("root_user")
def test_who_enters_wrongly_is_told_how(home: str) -> None:
    for words in ([], ["a", "b"], ["a", "--"]):
        done = entered(home, *words)
        assert (done.returncode, done.stderr) == (255, "enter: usage: enter NODE [-- COMMAND...]\n"), words
