from __future__ import annotations

from hypothesis import given, strategies as st

from scheduler.heap import SLACK, Heap

STEPS = st.lists(st.tuples(st.integers(0, 9), st.none() | st.integers(-3, 3)), max_size=200)


@given(STEPS)
def test_first_is_always_the_least_of_what_is_in(steps: list[tuple[int, int | None]]) -> None:
    heap: Heap[int] = Heap()
    model: dict[int, tuple[int, int]] = {}
    for number, (item, key) in enumerate(steps):
        if key is None:
            heap.discard(item)
            model.pop(item, None)
        else:
            heap.put(item, key)
            model[item] = (key, number)
        assert len(heap) == len(model)
        assert set(heap) == set(model)
        assert all((item in heap) == (item in model) for item in range(10))
        if model:
            assert heap.first() == min(model, key=lambda item: model[item])
            assert heap.first_key() == (min(model.values())[0],)


def test_moving_an_item_for_ever_takes_no_more_room() -> None:
    heap: Heap[str] = Heap()
    heap.put("first", 0)
    for key in range(1000):
        heap.put("moved", 1 + key)
    assert len(heap._entries) <= 2 * len(heap) + SLACK


def test_iteration_is_in_the_order_in_which_items_came_in() -> None:
    heap: Heap[str] = Heap()
    for key, item in enumerate("cab"):
        heap.put(item, -key)
    heap.put("c", -9)
    assert list(heap) == ["c", "a", "b"]
