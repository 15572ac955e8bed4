from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import msgspec

from re_config.load import parse
from re_config.reference import EXAMPLE, PAGE, field_docs, page
from re_config.schema import Config

ROOT = Path(__file__).resolve().parents[2]


def example_of(text: str) -> str:
    return text.split("```toml\n")[1].split("```", maxsplit=1)[0]


def test_the_page_is_what_the_schema_makes_of_it() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "re_config.reference", "--check"], cwd=ROOT, check=False
    )
    assert done.returncode == 0
    assert PAGE.read_text() == page()


def test_the_example_at_the_top_loads_and_has_every_field() -> None:
    text = example_of(PAGE.read_text())
    assert parse(text, "docs/config.md") == EXAMPLE
    assert tomllib.loads(text) == msgspec.json.decode(msgspec.json.encode(EXAMPLE))


def test_every_field_of_every_table_is_described_on_the_page() -> None:
    text = PAGE.read_text()
    docs = field_docs()
    for name in (
        "Server",
        "Disk",
        "Instance",
        "Execution",
        "Bubblewrap",
        "Prevention",
        "Worker",
        "Limits",
        "Ledger",
        "Determinism",
        "Audit",
        "TextRule",
        "Chunking",
        "FastCdc",
        "RepMaxCdc",
    ):
        assert docs[name]
        for said in docs[name].values():
            assert said in text
    assert set(docs["Config"]) == {"instances", "default"} <= set(Config.__struct_fields__)


def test_wrong_usage_is_told() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "re_config.reference", "--what"],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "Usage:" in done.stderr
