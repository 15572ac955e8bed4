from __future__ import annotations

import re
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import grpc
import pytest

from tests.protocol.actions import put_script
from tests.protocol.blobs import unique
from tests.protocol.peer import CALL_SECONDS, Peer, refused
from tests.serving import Served, serving


def fetch(server: Served, path: str) -> tuple[int, str]:
    with urlopen(f"http://{server.web}{path}", timeout=CALL_SECONDS) as response:
        return response.status, response.read().decode()


def samples(server: Served) -> dict[str, float]:
    """Return every sample of /metrics, by its name and labels."""
    _, text = fetch(server, "/metrics")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def total(server: Served, *words: str) -> float:
    """Add up the samples whose name or labels hold all of `words`."""
    return sum(
        value for name, value in samples(server).items() if all(word in name for word in words)
    )


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_a_server_that_serves_says_so(served: Served, path: str) -> None:
    assert fetch(served, path)[0] == 200


def test_a_page_that_there_is_not_is_404(served: Served) -> None:
    with pytest.raises(HTTPError) as caught:
        fetch(served, "/no/such/page")
    assert caught.value.code == 404
    caught.value.close()


def test_every_method_is_counted_with_its_outcome(served: Served, peer: Peer) -> None:
    words = ("GetActionResult", "NOT_FOUND")
    before = total(served, *words, "_count") + total(served, *words, "_total")
    with refused(grpc.StatusCode.NOT_FOUND):
        peer.get_result(peer.digest(unique()))
    after = total(served, *words, "_count") + total(served, *words, "_total")
    assert after > before


def test_what_was_uploaded_executed_and_pinned_is_counted(served: Served, peer: Peer) -> None:
    before = samples(served)
    action = put_script(peer, "cat /proc/sys/kernel/random/uuid > out", "out")
    peer.execute(action)
    peer.execute(action, skip_cache_lookup=True)
    after = samples(served)
    grown = {name for name, value in after.items() if value > before.get(name, 0)}
    for word in ("execution", "pin", "conflict", "store"):
        assert any(word in name for name in grown), (word, sorted(grown))


def test_metrics_are_named_in_base_units_and_no_label_names_a_blob(
    served: Served, peer: Peer
) -> None:
    digest = peer.put_one(unique())
    _, text = fetch(served, "/metrics")
    assert digest.hash not in text
    assert not re.search(r"[0-9a-f]{40}", text)
    assert "holdfast_" in text


def test_a_server_that_stops_is_not_ready_or_gone(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        assert fetch(server, "/readyz")[0] == 200
        assert server.stop() == 0
