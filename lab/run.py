"""Run the lab: small actions with real tools, through a real server, often.

Exit status: 0 if each case came to what its expect.json leads one to expect; 1 if one did not,
or could not be run; 2 for wrong usage.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from lab.cases import Case, load
from lab.rows import RIGHT, Row, row, share_right
from lab.runs import Plan, run_all
from lab.table import as_json, markdown, show

CASES = Path(__file__).resolve().parent / "cases"


def main() -> int:
    arguments = parsed(sys.argv[1:])
    # Servers and folders go when the blocks that made them end, and so they do at a signal.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    plan = Plan(
        runs=arguments.runs,
        preventing=min(arguments.runs, Plan().preventing),
        slow=arguments.slow,
        audit=not arguments.no_audit,
    )
    try:
        chosen = [case for case in load(arguments.cases) if _named(case, arguments.only)]
    except (OSError, ValueError) as error:
        print(f"lab: {error}", file=sys.stderr)
        return 2
    if not chosen:
        print(f"lab: no case is named {', '.join(arguments.only)}", file=sys.stderr)
        return 2
    try:
        rows = measured(chosen, plan)
    except (LookupError, OSError, RuntimeError) as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    if arguments.json:
        print(as_json(rows))
    elif arguments.markdown:
        print(markdown(rows))
    else:
        show(rows, Console(highlight=False, width=None if sys.stdout.isatty() else 160))
    return int(any(each.faults for each in rows) or share_right(rows) < RIGHT)


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m lab.run", description=__doc__)
    parser.add_argument("--cases", type=Path, default=CASES, help="folder of cases")
    parser.add_argument("--only", action="append", default=[], help="glob of names; repeatable")
    parser.add_argument("--runs", type=int, default=Plan().runs, help="of each case, in full")
    parser.add_argument(
        "--slow", action="store_true", help="wait as long as a case needs to differ"
    )
    parser.add_argument("--no-audit", action="store_true", help="do not look for causes")
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--markdown", action="store_true", help="print the table for the README")
    shown.add_argument("--json", action="store_true", help="print all that is known of each case")
    return parser.parse_args(arguments)


def measured(cases: Sequence[Case], plan: Plan) -> list[Row]:
    """Run `cases` with a bar on stderr; return the table's lines."""
    columns = (TextColumn("running cases"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=plan.steps * len(cases))
        found = asyncio.run(run_all(cases, plan, lambda: bar.advance(task)))
    return [row(seen) for seen in found]


def _named(case: Case, globs: Sequence[str]) -> bool:
    return not globs or any(fnmatchcase(case.name, glob) for glob in globs)


if __name__ == "__main__":
    sys.exit(main())
