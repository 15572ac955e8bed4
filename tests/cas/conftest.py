from __future__ import annotations

from tests.cas.test_disk_full import small_disk

__all__ = ["small_disk"]
