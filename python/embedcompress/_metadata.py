"""What is stored beside the tables of a file, as the core takes it."""

from __future__ import annotations

import json
from collections.abc import Mapping

DIGESTS = "embedcompress.digests"


def metadata_text(metadata: Mapping[str, str] | None, digests: bool) -> str:
    """Return the metadata as JSON, with the entry that asks for digests of the tensors."""
    entries = dict(metadata or {})
    if DIGESTS in entries:
        raise ValueError(f"metadata key '{DIGESTS}' is this library's own; ask for digests with digests=True")
    return json.dumps({**entries, DIGESTS: "sha256"} if digests else entries)
