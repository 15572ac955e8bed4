"""Fuzz one target in this process: `python -m fuzz.one TARGET [libFuzzer's options]`.

What is given beside the target is libFuzzer's: options, folders of a corpus, or one file to be
tried once. Source: https://llvm.org/docs/LibFuzzer.html#options
"""

from __future__ import annotations

import sys

import atheris
from atheris.import_hook import instrument_imports

PRODUCT = ["access", "action_cache", "assets", "cas", "determinism", "re_client", "re_server",
           "scheduler", "worker"]  # fmt: skip

with instrument_imports(include=PRODUCT):
    from fuzz.target import attempts
    from fuzz.targets import TARGETS


def main() -> None:
    _, name, *options = sys.argv
    target = TARGETS[name]
    with attempts(target) as attempt:
        # libFuzzer starts itself anew when it merges, with its first argument as the program.
        program = f"{sys.executable} -m fuzz.one {name}"
        atheris.Setup([program, f"-max_len={target.max_bytes}", *options], attempt)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
