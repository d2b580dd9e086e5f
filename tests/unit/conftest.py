# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Let the collection be imported as Ansible would import it, from a plain checkout."""

from __future__ import annotations

from pathlib import Path

from hypothesis import HealthCheck, settings

# A busy machine is no fault of the code: how long an example takes is nobody's business here.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

ROOT = Path(__file__).resolve().parents[2] / ".collections"

try:
    from ansible.plugins.loader import init_plugin_loader
    from ansible.utils.collection_loader import AnsibleCollectionConfig
except ImportError:
    pass  # under ansible-test, tests of modules can import only ansible.module_utils
else:
    if AnsibleCollectionConfig.collection_finder is None and ROOT.is_dir():
        init_plugin_loader([str(ROOT)])
