from __future__ import annotations

from pathlib import Path

from determinism.canonical import Extent, Selection, rules
from determinism.registry import FORMATS
from determinism.text_rules import TextRule
from tests.determinism.made import written
from tests.determinism.test_canonical import EVERYTHING, done, formats


def text_rule(**changes: str) -> TextRule:
    values = {"name": "id", "outputs": "*.txt", "mnemonic": "", **changes}
    return TextRule(pattern=rb"id=\d+", fill=b"id=0", **values).checked()


def test_text_rules_are_applied_to_the_outputs_of_their_actions(tmp_path: Path) -> None:
    texts = [written(tmp_path / name, "id=12345\n") for name in ("a.txt", "a.log")]
    selection = Selection(text_rules=(text_rule(mnemonic="Generate"),), mnemonic="Generate")
    assert done(*texts, selection=Selection(text_rules=selection.text_rules)) == []
    assert formats(done(*texts, selection=selection)) == {"a.txt": ("text",)}
    assert [text.read_text() for text in texts] == ["id=0id=0\n", "id=12345\n"]
    nothing = Selection(how=Extent.NOTHING, text_rules=(text_rule(),))
    assert done(*texts, selection=nothing) == []


def test_the_harmless_are_applied_unasked_and_others_where_they_are_named() -> None:
    harmless = {each.name for each in FORMATS if each.harmless}
    assert harmless == {"ar", "tar", "zip", "gzip", "png", "pe"}
    assert {each.name for each in Selection().active()} == harmless
    named = Selection(formats=frozenset({"cpio", "of a newer version"}))
    assert {each.name for each in named.active()} == harmless | {"cpio"}
    assert Selection(how=Extent.NOTHING, formats=frozenset({"cpio"})).active() == []
    assert EVERYTHING.active() == list(FORMATS)


def test_rules_name_formats_with_versions_and_text_rules_by_a_hash() -> None:
    assert rules(Selection(how=Extent.NOTHING, text_rules=(text_rule(),))) == ""
    assert rules(Selection()).split()[:2] == ["ar.1", "tar.1"]
    assert "elf-image." in rules(EVERYTHING)
    one = rules(Selection(text_rules=(text_rule(),)))
    assert one == rules(Selection(text_rules=(text_rule(),)))
    assert one != rules(Selection(text_rules=(text_rule(outputs="*"),)))
    other = Selection(text_rules=(text_rule(mnemonic="X"),), mnemonic="Y")
    assert rules(other) == rules(Selection())
    assert len(set(one)) < 100


def test_names_and_versions_are_fit_to_be_recorded() -> None:
    names = [each.name for each in FORMATS]
    assert len(set(names)) == len(names)
    assert all(each.version >= 1 and each.name.replace(" ", "").isalnum() for each in FORMATS)
    assert all("." not in name and ":" not in name for name in names)
