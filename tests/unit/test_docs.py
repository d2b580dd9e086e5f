# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation keeps its promises: tables are those of the code, links lead somewhere, commands exist."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from ansible_collections.benito.testbed.plugins.plugin_utils.attributes import table
from ansible_collections.benito.testbed.plugins.plugin_utils.settings import SETTINGS

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "roles/*/README.md", "examples/**/*.md")
    for path in ROOT.glob(pattern)
    if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
)
LINK = re.compile(r"\[[^]]*\]\(([^)\s]+)\)")
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
TARGET = re.compile(r"^([a-z]+):", re.MULTILINE)


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def anchors(page: Path) -> set[str]:
    """Return what the headings of a page are called in links to them."""
    headings = re.findall(r"^#+ (.*)$", FENCED.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("doc_tables", ROOT / "tools" / "doc_tables.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_tables_of_the_options_are_those_of_the_code(generator: ModuleType) -> None:
    page = generator.PAGE.read_text(encoding="utf-8")
    assert page == generator.filled(page), "run .venv/bin/python tools/doc_tables.py"


def test_every_setting_and_attribute_has_a_row(generator: ModuleType) -> None:
    rows = [line.split(" | ")[0] for line in generator.PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    named_there = set(re.findall(r"`([^`]+)`", " ".join(rows)))
    settings = {s.name for s in SETTINGS}
    attributes = {name for names, _places, _meaning, _word in table() for name in names.split(", ")}
    assert settings <= named_there
    assert {name for name in attributes if name.removeprefix("benito:") not in settings} <= named_there


def test_a_page_without_its_marks_is_refused(generator: ModuleType) -> None:
    with pytest.raises(SystemExit, match="marks"):
        generator.filled("no marks here")


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_link_leads_somewhere(page: Path) -> None:
    lost = []
    for link in LINK.findall(FENCED.sub("", page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", link):
            continue
        path, dummy, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            lost.append(link)
    assert not lost


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_make_target_and_playbook_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    targets = set(TARGET.findall((ROOT / "Makefile").read_text(encoding="utf-8")))
    used = set(re.findall(r"(?:^ {4}|`)make ([a-z]+)", text, re.MULTILINE))
    assert used <= targets
    files = set(re.findall(r"(?:^|[ =])((?:playbooks|examples)/[\w.-]+\.\w+)", text, re.MULTILINE))
    assert [name for name in sorted(files) if not (ROOT / name).is_file()] == []


def test_the_page_of_the_readme_has_no_other_list_of_pages_than_there_are() -> None:
    linked = set(LINK.findall((ROOT / "README.md").read_text(encoding="utf-8")))
    assert {f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")} <= linked


def test_each_promise_of_security_names_a_test_that_there_is() -> None:
    named_tests = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", (ROOT / "docs/security.md").read_text(encoding="utf-8"))
    assert len(named_tests) > 40
    lost = [
        f"{path}::{name}"
        for path, name in named_tests
        if not (ROOT / path).is_file() or (name and f"def {name}(" not in (ROOT / path).read_text(encoding="utf-8"))
    ]
    assert not lost
