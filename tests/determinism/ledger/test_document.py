"""docs/ledger.md is enough to read a ledger: this reader is written from it alone."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from determinism.ledger.schema import FORMAT
from determinism.policy import Verdict
from tests.determinism.ledger.seen import NOW, Clock, difference, file, key, ledger, seen

PAGE = Path(__file__).resolve().parents[3] / "docs" / "ledger.md"
FUNCTIONS = {1: "sha256", 2: "sha1", 3: "md5", 5: "sha384", 6: "sha512", 8: "sha256tree",
             9: "blake3", 10: "gitsha1"}  # fmt: skip
TEXTS = ("source", "verdict", "mode", "worker", "toolchain", "rules", "program", "version",
         "mnemonic", "target", "invocation", "tool", "root")  # fmt: skip


@contextmanager
def database(folder: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(folder / "ledger.sqlite")) as connection:
        connection.row_factory = sqlite3.Row
        assert connection.execute("PRAGMA user_version").fetchone()[0] == 1
        yield connection


def digest(blob: bytes) -> tuple[str, str, int]:
    return FUNCTIONS[blob[0]], blob[1:-8].hex(), int.from_bytes(blob[-8:], "big")


def link(hash: str) -> int:
    return int.from_bytes(bytes.fromhex(hash)[:8], "big", signed=True)


def text(read: sqlite3.Connection, id: int) -> str:
    (value,) = read.execute("SELECT value FROM text WHERE id = ?", (id,)).fetchone()
    return str(value)


def observation(read: sqlite3.Connection, number: int) -> dict[str, Any]:
    row = read.execute("SELECT * FROM observation WHERE id = ?", (number,)).fetchone()
    action = read.execute("SELECT * FROM action WHERE id = ?", (row["action"],)).fetchone()
    outcome = read.execute("SELECT * FROM outcome WHERE id = ?", (row["outcome"],)).fetchone()
    outputs = read.execute("SELECT * FROM output WHERE outcome = ?", (row["outcome"],))
    return {
        "action": digest(action["digest"]),
        "instance": text(read, action["instance"]),
        "input_root": digest(action["input_root"]),
        "switches": json.loads(text(read, row["switches"])),
        "outputs": {each["path"]: shown(each) for each in outputs},
        "streams": json.loads(outcome["streams"]),
        **{name: text(read, row[name]) for name in TEXTS},
        **{name: row[name] for name in ("at", "seconds", "exit_code", "begun", "ended")},
    }


def shown(output: Mapping[str, Any]) -> str:
    if output["kind"] == "other":
        return str(output["other"])
    _, hash, size = digest(output["digest"])
    forms = {"file": "{}/{}", "executable": "{}/{} executable", "tree": "tree {}/{}"}
    return forms[output["kind"]].format(hash, size)


def test_a_reader_written_from_the_document_finds_what_was_observed(tmp_path: Path) -> None:
    outputs = {"a": "1", "b": f"{file('2')} executable", "c": f"tree {file('3')}",
               "d": "symlink to a"}  # fmt: skip
    told = seen("action", outputs, streams={"stdout": str(file("said")), "exit code": "0"})
    with ledger(tmp_path) as kept:
        number = kept.record(told)
    with database(tmp_path) as read:
        found = observation(read, number)
    assert told.input_root is not None
    assert found == {
        "action": ("sha256", told.key.action.hash, told.key.action.size),
        "instance": "main",
        "input_root": ("sha256", told.input_root.hash, told.input_root.size),
        "switches": list(told.switches),
        "outputs": told.outcome.outputs,
        "streams": told.outcome.streams,
        **{name: str(getattr(told, name)) for name in TEXTS},
        **{name: getattr(told, name) for name in ("at", "seconds", "exit_code", "begun", "ended")},
    }


def test_the_cascade_is_found_by_its_tables(tmp_path: Path) -> None:
    clock = Clock()
    with ledger(tmp_path, clock=clock) as kept:
        kept.record(seen("maker", {"out": "1"}))
        kept.record(seen("taker", {"out": "3"}))
        kept.consumed(key("taker"), [file("1"), file("a source"), file("")])
        number = kept.record(seen("maker", {"out": "2"}, Verdict.CONFLICT))
        kept.attributed(number, [difference(ranges=((4, 8),))], latent=False)
        kept.flush()
        clock.now = NOW + 5
        kept.hit(key("taker"))
    with database(tmp_path) as read:
        assert [*read.execute("SELECT link FROM diverged").fetchone()] == [link(file("1").hash)]
        assert [*read.execute("SELECT link FROM consumed").fetchone()] == [link(file("1").hash)]
        (credit,) = read.execute("SELECT * FROM credit").fetchall()
        assert (credit["conflict"], credit["since"]) == (number, NOW)
        assert (credit["distance"], credit["open"], credit["saved"]) == (1, 0, 1)
        (row,) = read.execute("SELECT * FROM difference").fetchall()
        assert (row["place"], text(read, row["cause"]), text(read, row["format"])) == (
            "out", "time", "ar",
        )  # fmt: skip
        assert json.loads(row["ranges"]) == [[4, 8]]
        counted = {
            (row["kind"], *json.loads(row["labels"])): row["value"]
            for row in read.execute("SELECT * FROM counter")
        }
    assert counted == {
        ("observations", "service", "first"): 2,
        ("observations", "service", "conflict"): 1,
        ("conflicts", "gcc", "CppCompile", "time", "actual"): 1,
        ("saved actions",): 1,
        ("saved seconds",): 2.0,
    }


def test_the_examples_of_the_document_run(tmp_path: Path) -> None:
    examples = re.findall(r"```sql\n(.*?)```", PAGE.read_text(), re.DOTALL)
    with ledger(tmp_path) as kept:
        kept.record(seen("maker", {"out": "1"}, Verdict.CONFLICT))
        kept.record(seen("taker", {"out": "3"}))
        kept.consumed(key("taker"), [file("1")])
    with database(tmp_path) as read:
        worst, consumers = (
            read.execute(each, (1,) if "?" in each else ()).fetchall() for each in examples
        )
    assert [tuple(row) for row in worst] == [("gcc", 1, 0.0)]
    assert [tuple(row) for row in consumers] == [(2,)]


def test_every_table_and_column_is_described(tmp_path: Path) -> None:
    page = PAGE.read_text()
    assert f"format {FORMAT} " in page
    with ledger(tmp_path):
        pass
    with database(tmp_path) as read:
        tables = [
            name for (name,) in read.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
        ]
        for table in tables:
            assert f"`{table}`" in page
            for row in read.execute(f"PRAGMA table_info({table})"):
                assert f"`{row['name']}`" in page, (table, row["name"])
