from __future__ import annotations

from scheduler.platform import Platform, listed, requirement


def test_each_required_pair_must_be_offered() -> None:
    platform = Platform.of([("OSFamily", "linux"), ("arch", "x86_64")])
    assert platform.serves((("OSFamily", "linux"),))
    assert platform.serves((("OSFamily", "linux"), ("arch", "x86_64")))
    assert not platform.serves((("OSFamily", "mac"),))
    assert not platform.serves((("OSFamily", "linux"), ("gpu", "1")))


def test_a_worker_serves_each_of_a_propertys_values() -> None:
    platform = Platform.of([("OSFamily", "linux"), ("OSFamily", "Linux")])
    assert platform.serves((("OSFamily", "linux"),))
    assert platform.serves((("OSFamily", "Linux"),))
    assert platform.serves((("OSFamily", "Linux"), ("OSFamily", "linux")))


def test_no_requirement_is_served_by_every_worker() -> None:
    assert Platform.of([]).serves(())


def test_properties_that_the_server_reads_itself_are_not_matched() -> None:
    asked = [("holdfast-determinism", "strict"), ("OSFamily", "linux")]
    assert requirement(asked) == (("OSFamily", "linux"),)


def test_the_key_of_a_persistent_worker_is_not_matched() -> None:
    # REAPI clients add persistentWorkerKey last, unsorted, to actions that also run without one.
    asked = [("b", "1"), ("a", "2"), ("persistentWorkerKey", "xyz")]
    assert requirement(asked) == (("a", "2"), ("b", "1"))


def test_requirements_that_ask_alike_are_equal_in_any_order() -> None:
    pairs = [("b", "1"), ("a", "2"), ("b", "1")]
    assert requirement(pairs) == requirement(reversed(pairs)) == (("a", "2"), ("b", "1"))


def test_platforms_are_shown_as_pairs() -> None:
    assert str(Platform.of([("b", "1"), ("a", "2")])) == "a=2, b=1"
    assert listed(()) == "no properties"
