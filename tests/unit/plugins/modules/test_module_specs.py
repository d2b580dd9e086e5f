# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each module takes exactly the options it documents."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils import basic
from ansible.parsing.plugin_docs import read_docstring
from ansible.plugins.loader import fragment_loader
from ansible.utils.plugin_docs import add_fragments

PLUGINS = Path(__file__).resolve().parents[4] / "plugins"
MODULES = sorted(path.stem for path in (PLUGINS / "modules").glob("*.py") if path.stem != "__init__")
# Their options are read by an action on the controller.
ACTIONS = {"ask", "show", "state_files"}
PACKAGE = "ansible_collections.benito.testbed.plugins"


class Captured(Exception):
    """The arguments of AnsibleModule."""


def documentation(name: str) -> dict[str, Any]:
    """Return the documentation of a module, with its fragments, as ansible-doc sees it."""
    path = PLUGINS / "modules" / f"{name}.py"
    doc = read_docstring(str(path), verbose=False)["doc"]
    add_fragments(doc, str(path), fragment_loader=fragment_loader, is_module=True)
    return doc


def specification(name: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return what a module gives to AnsibleModule."""

    def capture(self: object, argument_spec: dict[str, Any], **more: Any) -> None:
        raise Captured({"argument_spec": argument_spec, **more})

    monkeypatch.setattr(basic.AnsibleModule, "__init__", capture)
    with pytest.raises(Captured) as caught:
        importlib.import_module(f"{PACKAGE}.modules.{name}").main()
    return caught.value.args[0]


def documented(options: dict[str, Any]) -> dict[str, Any]:
    """Reduce documented options to what an argument specification says as well."""
    return {
        name: {
            "type": option.get("type", "str"),
            "elements": option.get("elements"),
            "required": option.get("required", False),
            "default": option.get("default"),
            "choices": option.get("choices"),
            "aliases": option.get("aliases", []),
            "options": documented(option["suboptions"]) if "suboptions" in option else None,
        }
        for name, option in options.items()
    }


def specified(spec: dict[str, Any]) -> dict[str, Any]:
    """Reduce an argument specification in the same way."""
    return {
        name: {
            "type": option.get("type", "str"),
            "elements": option.get("elements"),
            "required": option.get("required", False),
            "default": option.get("default"),
            "choices": option.get("choices"),
            "aliases": option.get("aliases", []),
            "options": specified(option["options"]) if "options" in option else None,
        }
        for name, option in spec.items()
    }


def test_all_modules_are_looked_at() -> None:
    assert {"control_net", "experiment", "guest_image", "qemu_guest", "qemu_guest_info", "vde_switch", "vde_switch_info"} <= set(MODULES)


@pytest.mark.parametrize("name", [name for name in MODULES if name not in ACTIONS])
def test_the_options_are_those_that_are_documented(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert specified(specification(name, monkeypatch)["argument_spec"]) == documented(documentation(name)["options"])


@pytest.mark.parametrize("name", [name for name in MODULES if name not in ACTIONS])
def test_check_mode_is_supported_where_it_is_documented(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    said = documentation(name)["attributes"]["check_mode"]["support"]
    assert specification(name, monkeypatch).get("supports_check_mode", False) is (said in ("full", "partial"))


@pytest.mark.parametrize("name", sorted(ACTIONS))
def test_the_options_of_an_action_are_those_that_are_documented(name: str) -> None:
    action = importlib.import_module(f"{PACKAGE}.action.{name}").ActionModule
    assert set(documentation(name)["options"]) == action._VALID_ARGS


def test_an_action_checks_its_options_as_they_are_documented() -> None:
    for name in ("ask", "state_files"):
        spec = importlib.import_module(f"{PACKAGE}.action.{name}").OPTIONS
        assert specified(spec) == documented(documentation(name)["options"])


@pytest.mark.parametrize("name", MODULES)
def test_examples_are_tasks_with_options_that_exist(name: str) -> None:
    path = PLUGINS / "modules" / f"{name}.py"
    examples = yaml.safe_load(read_docstring(str(path), verbose=False)["plainexamples"])
    ours = [task[f"benito.testbed.{name}"] for task in examples if f"benito.testbed.{name}" in task]
    assert ours
    options = documentation(name)["options"]
    for arguments in ours:
        check_arguments(arguments, options)


def check_arguments(arguments: Any, options: dict[str, Any]) -> None:
    """Compare the arguments of an example with documented options, at every depth."""
    assert set(arguments) <= set(options)
    assert {option for option, facts in options.items() if facts.get("required")} <= set(arguments)
    for option, value in arguments.items():
        inner = options[option].get("suboptions")
        for entry in (value if isinstance(value, list) else [value]) if inner else []:
            check_arguments(entry, inner)
