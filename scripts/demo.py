"""Watch Bazel build through Holdfast: a real C++ project, twice, and what is never alike of itself.

Usage: python -m scripts.demo [--keep]      (`make demo` calls it, in the project's environment)

Everything happens in a temporary folder, on loopback, at free ports. Exit status: 0 if each promise
was seen to hold; 1 if one was not: the reason is printed, with the end of what Bazel and the server
said, and the folder is kept; 2 for wrong usage.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.markup import escape

from scripts.demo_dice import throw_dice
from scripts.demo_layers import build_on_two_servers
from scripts.demo_report import Broken, console, say
from scripts.demo_twice import build_twice
from tests.bazel.stubs import write_stubs
from tests.serving import serving

LOG_LINES = 30
"""Lines of a log that are shown when something went wrong."""


def main(arguments: Sequence[str]) -> int:
    """Run the demo; return its exit status."""
    if set(arguments) - {"--keep"}:
        print(__doc__, file=sys.stderr)
        return 2
    folder = Path(tempfile.mkdtemp(prefix="holdfast-demo-"))
    try:
        show(folder)
    except (Broken, OSError, RuntimeError) as error:
        explain(error, folder)
        return 1
    if "--keep" in arguments:
        console.print(f"Kept: {folder}")
    else:
        shutil.rmtree(folder)
    console.print("[bold green]Every promise held.[/]")
    return 0


def show(folder: Path) -> None:
    """Show all there is to see, in `folder`."""
    rc = write_stubs(folder / "bazel")
    with serving(folder / "holdfast") as served:
        say(
            "Holdfast runs",
            f"`holdfast serve` answers gRPC at {served.grpc}, and runs actions itself, each in a "
            f"sandbox. All it stores is in {folder / 'holdfast'}.",
        )
        build_twice(served, folder / "project", rc)
        throw_dice(served, folder / "dice", rc)
        status = served.stop()
    if status:
        raise Broken(f"holdfast serve ended with status {status}")
    say("Holdfast stopped", "It was asked to by SIGTERM, and ended with status 0.")
    build_on_two_servers(folder / "layers", rc)


def explain(error: Exception, folder: Path) -> None:
    """Print why the demo ended early, and what was said last."""
    logs = sorted(folder.rglob("holdfast.log"), key=lambda log: log.stat().st_mtime)
    console.print(f"\n[bold red]The demo failed:[/] {escape(str(error))}")
    said = {
        "Bazel": error.said if isinstance(error, Broken) else "",
        "Holdfast": logs[-1].read_text(errors="replace") if logs else "",
    }
    for who, text in said.items():
        if lines := text.splitlines()[-LOG_LINES:]:
            console.print(f"\n[bold]{who} said last:[/]")
            console.print("\n".join(lines), markup=False)
    console.print(f"\nWhat was made is kept in {folder}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
