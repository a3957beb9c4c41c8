"""Short, stable fingerprints of content and settings."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def fingerprint(*parts: Any) -> str:
    """Return a fingerprint of ``parts`` (16 hex digits) that is the same on every machine and in every process.

    Args:
        parts: JSON-serializable values. The order of mapping keys does not matter.

    >>> fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    True
    """
    content = json.dumps(parts, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.blake2b(content.encode(), digest_size=8).hexdigest()
