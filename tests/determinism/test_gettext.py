from __future__ import annotations

from pathlib import Path

import pytest

from determinism.format import Declined
from determinism.formats import gettext_mo, gettext_po
from tests.determinism.made import WINDOW, canonical, run, today, written

CODE = """#include <libintl.h>
int main(void) { gettext("a %d"); gettext("POT-Creation-Date: 2027-01-15 08:00+0000\\n"); }
"""
FIRST = b"1970-01-01 00:00+0000"


def template(folder: Path) -> bytes:
    written(folder / "m.c", CODE)
    run("xgettext", "--keyword=gettext", "-o", "o.pot", "m.c", cwd=folder)
    return (folder / "o.pot").read_bytes()


def catalogue(folder: Path, created: bytes, revised: bytes) -> bytes:
    """Return a .po file that msgfmt -c has nothing to say against."""
    header = template(folder).replace(b"CHARSET", b"UTF-8").replace(b"#, fuzzy\n", b"")
    lines = header.split(b"\n")
    for at, line in enumerate(lines):
        if line.startswith(b'"POT-Creation-Date'):
            lines[at] = b'"POT-Creation-Date: ' + created + b'\\n"'
        if line.startswith(b'"PO-Revision-Date'):
            lines[at] = b'"PO-Revision-Date: ' + revised + b'\\n"'
        if line.startswith(b'"Language: '):
            lines[at] = b'"Language: de\\n"'
    return b"\n".join(lines).replace(b'"a %d"\nmsgstr ""', b'"a %d"\nmsgstr "b %d"')


def compiled(folder: Path, catalogue: bytes, *options: str) -> bytes:
    written(folder / "de.po", catalogue)
    run("msgfmt", "-c", *options, "de.po", "-o", "de.mo", cwd=folder)
    return (folder / "de.mo").read_bytes()


def test_what_xgettext_writes_now_has_no_date_any_more(tmp_path: Path) -> None:
    data = template(tmp_path)
    made = canonical(gettext_po.FORMAT, data, today())
    assert made != data
    assert b'"POT-Creation-Date: ' + FIRST + b'\\n"' in made
    assert len(made) == len(data)
    written(tmp_path / "o.pot", made)
    assert run("msgcmp", "--use-untranslated", "o.pot", "o.pot", cwd=tmp_path) == b""


@pytest.mark.parametrize(
    "date", [b"2027-01-15 08:00+0000", b"2027-01-15 09:01+0100", b"2027-01-15 02:30-0530"]
)
def test_minutes_in_which_the_action_ran_become_one_constant(tmp_path: Path, date: bytes) -> None:
    data = catalogue(tmp_path, date, date)
    made = canonical(gettext_po.FORMAT, data, WINDOW)
    assert made.count(FIRST) == 2
    assert made.count(b"2027") == 1  # that of a message


@pytest.mark.parametrize(
    "date",
    [
        b"2027-01-15 07:59+0000",
        b"2027-01-15 08:02+0000",
        b"2027-01-15 08:00+0100",
        b"2027-13-15 08:00+0000",
    ],
)
def test_other_minutes_stay(tmp_path: Path, date: bytes) -> None:
    data = catalogue(tmp_path, date, date)
    assert canonical(gettext_po.FORMAT, data, WINDOW) == data


def test_a_revision_before_the_action_stays(tmp_path: Path) -> None:
    data = catalogue(tmp_path, b"2027-01-15 08:00+0000", b"2026-01-15 08:00+0000")
    made = canonical(gettext_po.FORMAT, data, WINDOW)
    assert made == data.replace(b"2027-01-15 08:00+0000", FIRST, 1)


def test_a_message_that_looks_like_the_header_stays(tmp_path: Path) -> None:
    data = catalogue(tmp_path, b"2027-01-15 08:00+0000", b"")
    body = data[data.index(b"\n\n") :]
    with pytest.raises(Declined, match="header"):
        gettext_po.FORMAT.edits(body, WINDOW)


@pytest.mark.parametrize(
    "options", [(), ("--endianness=big",), ("--no-hash",), ("--alignment=16",)], ids=str
)
def test_compiled_catalogues_become_the_same(tmp_path: Path, options: tuple[str, ...]) -> None:
    dates = (b"2027-01-15 08:00+0000", b"2027-01-15 08:01+0000")
    first, then = (compiled(tmp_path, catalogue(tmp_path, date, date), *options) for date in dates)
    assert first != then
    made = canonical(gettext_mo.FORMAT, first, WINDOW)
    assert made == canonical(gettext_mo.FORMAT, then, WINDOW)
    texts = []
    for data in (first, made):
        written(tmp_path / "told.mo", data)
        texts.append(run("msgunfmt", "told.mo", cwd=tmp_path))
    assert texts[0].replace(b'2027-01-15 08:00+0000\\n"\n"Last', FIRST + b'\\n"\n"Last') == texts[1]
    written(tmp_path / "again.po", texts[1])
    run("msgfmt", "-c", "again.po", "-o", "again.mo", cwd=tmp_path)


def test_a_compiled_catalogue_without_a_header_stays(tmp_path: Path) -> None:
    written(tmp_path / "de.po", 'msgid "a"\nmsgstr "b"\n')
    run("msgfmt", "de.po", "-o", "de.mo", cwd=tmp_path)
    data = (tmp_path / "de.mo").read_bytes()
    assert canonical(gettext_mo.FORMAT, data, WINDOW) == data


def test_a_compiled_catalogue_of_an_unknown_revision_is_declined(tmp_path: Path) -> None:
    date = b"2027-01-15 08:00+0000"
    data = compiled(tmp_path, catalogue(tmp_path, date, date))
    for broken in (data[:4] + b"\0\0\2\0" + data[8:], data[:-1], data[:20]):
        with pytest.raises(Declined):
            gettext_mo.FORMAT.edits(broken, WINDOW)
