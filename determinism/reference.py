"""docs/canonical-forms.md, made from the formats.

Usage: python -m determinism.reference [--check]      (from the project's root)
"""

from __future__ import annotations

import sys
from pathlib import Path

from determinism.canonical import MAX_FILE_BYTES, WINDOW_SECONDS
from determinism.format import Format
from determinism.guards import SEARCHED_BYTES
from determinism.members import MAX_MEMBER_BYTES
from determinism.registry import FORMATS
from determinism.revision import MAX_DEPTH

PAGE = Path(__file__).resolve().parent.parent / "docs" / "canonical-forms.md"
_HEAD = f"""\
# Canonical forms

<!-- Generated from determinism/registry.py by `python -m determinism.reference`:
     change the formats there. -->

A worker rewrites outputs of known formats before they get their names, so that two runs of one
action that differ in nothing but the time have the same result. A format is recognised by what is
in a file, not by the file's name. `holdfast canonicalise FILE...` shows what would change.

For every format:

- Nothing is changed in a file that does not wholly parse.
- A time is touched only if it lies between the action's begin and end, give or take
  {WINDOW_SECONDS} seconds: what an action passed on keeps its own.
- Members of archives are looked at as files are, to a depth of {MAX_DEPTH}, up to
  {MAX_MEMBER_BYTES >> 20} MiB each. What is compressed is compressed again only by an encoder that
  makes the old bytes of the old contents, bit by bit.
- A member whose digest is written anywhere in its archive is left.
- The form of a form is itself: applied twice, nothing changes any more.

A whole file is left as it is

- if it is an input of the action, byte for byte;
- if its MD5, SHA-1, SHA-256, SHA-512 or CRC-32, or that of a member that would change, stands in
  another output of the action (in the first {SEARCHED_BYTES >> 20} MiB of it; in hexadecimal or
  base64, and a file's own, but for CRC-32, as bytes), or in the name of one;
- if it has more than {MAX_FILE_BYTES >> 30} GiB, or its folder may not be written to.

Formats that are harmless are applied unless an instance says otherwise; the others once a program's
outputs of them were seen to differ, or where the configuration names them.
"""


def page() -> str:
    """Return the whole text of docs/canonical-forms.md."""
    rows = [
        f"| [{each.name}](#{each.name.replace(' ', '-')}) | {each.version} | "
        f"{'yes' if each.harmless else 'no'} |"
        for each in FORMATS
    ]
    table = "\n".join(["| format | version | harmless |", "|---|---|---|", *rows])
    return "\n".join([_HEAD, f"{table}\n", *map(_section, FORMATS)])


def _section(format: Format) -> str:
    said = {
        "Rewritten": format.rewrites,
        "Left alone": format.declines,
        "Why behaviour is the same": format.preserves,
        "Standard": format.standard,
    }
    lines = [f"- {name}: {_sentence(text)}" for name, text in said.items()]
    return "\n".join([f"## {format.name}\n", *lines, ""])


def _sentence(text: str) -> str:
    """Begin with a capital, unless a name stands there: tIME, cpio(5)."""
    word = text.partition(" ")[0]
    start = text[:1].upper() if word.isalpha() and word.islower() else text[:1]
    return f"{start}{text[1:].removesuffix('.')}."


def main(arguments: list[str]) -> int:
    """Write the page, or with --check say whether it is what would be written."""
    if arguments == ["--check"]:
        if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == page():
            return 0
        sys.stderr.write(f"{PAGE} is stale: run `python -m determinism.reference`\n")
        return 1
    if arguments:
        sys.stderr.write(f"{(__doc__ or '').strip()}\n")
        return 2
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
