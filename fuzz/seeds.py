"""Write the inputs that fuzzing starts from: `python -m fuzz.seeds`."""

from __future__ import annotations

import hashlib

from fuzz.target import CORPUS
from fuzz.targets import TARGETS


def main() -> None:
    for name, target in TARGETS.items():
        folder = CORPUS / name
        folder.mkdir(parents=True, exist_ok=True)
        for seed in target.seeds():
            assert len(seed) <= target.max_bytes, name
            (folder / named(seed)).write_bytes(seed)


def named(data: bytes) -> str:
    """Return the name that libFuzzer gives to `data`, so that nothing is there twice."""
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


if __name__ == "__main__":
    main()
