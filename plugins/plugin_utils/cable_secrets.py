# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets of cables: what only the two ends of a cable know, derived from what only the controller knows.

The plan has none of them: it says the same for the same words, and anybody may read it.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from typing import Any

_SECRET = re.compile(r"[0-9a-f]{64}\Z")
_TRANSPORTS = ("tcp", "udp")


def cable_secrets(cables: Iterable[Mapping[str, Any]], secret: str) -> dict[str, str]:
    """Return the secret of each cable that needs one, by its id; none without the experiment's. Raises ValueError when that is none."""
    secret = secret.strip()
    if not secret:
        return {}
    if not _SECRET.match(secret):
        raise ValueError("the experiment's secret must be 64 hexadecimal digits: remove the file, and swap in on all hosts")
    key = bytes.fromhex(secret)
    ids = [str(cable["id"]) for cable in cables if cable.get("transport") in _TRANSPORTS]
    return {id_: hmac.new(key, f"cable {id_}".encode(), hashlib.sha256).hexdigest() for id_ in ids}
