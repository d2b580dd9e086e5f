# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action, as a playbook runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[4]


def play(directory: Path, options: dict[str, object], *arguments: str) -> str:
    """Run a play of this one task; return what it printed."""
    task = {"name": "Keep it", "benito.testbed.state_files": options}
    (directory / "play.yml").write_text(yaml.safe_dump([{"hosts": "far", "gather_facts": False, "tasks": [task]}]))
    # The host cannot be reached: nothing is done there.
    (directory / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": {"far": {"ansible_host": "256.256.256.256"}}}}))
    done = subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), "-i", directory / "hosts.yml", directory / "play.yml", *arguments],
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "NO_COLOR": "1", "LC_ALL": "C.UTF-8"},
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def test_check_predicts_and_a_second_run_changes_nothing(tmp_path: Path) -> None:
    options = {"directory": str(tmp_path / "state"), "texts": {"note": "{% raw %}as {{ it }} is{% endraw %}\n"}, "keys": {"key": "c"}}
    checked = play(tmp_path, options, "--check", "--diff")
    assert "changed=1" in checked and "+as {{ it }} is" in checked
    assert not (tmp_path / "state").exists()
    assert "changed=1" in play(tmp_path, options)
    assert (tmp_path / "state" / "note").read_text() == "as {{ it }} is\n"
    assert "changed=0" in play(tmp_path, options, "--diff")
    away = {"directory": str(tmp_path / "state"), "state": "absent"}
    checked = play(tmp_path, away, "--check", "--diff")
    assert "changed=1" in checked and f"-{tmp_path}/state" in checked
    assert (tmp_path / "state" / "note").exists()
    assert "changed=1" in play(tmp_path, away)
    assert not (tmp_path / "state").exists()
    assert "changed=0" in play(tmp_path, away)


@pytest.mark.parametrize("options", [{}, {"directory": "/proc/no", "texts": {"a": "b"}}, {"directory": "x", "texts": {"a/b": ""}}])
def test_what_cannot_be_is_told(tmp_path: Path, options: dict[str, object]) -> None:
    said = play(tmp_path, options)
    assert "failed=1" in said and "Traceback" not in said
    assert any(word in said for word in ("missing required arguments: directory", "/proc/no", "not the name of a file"))
