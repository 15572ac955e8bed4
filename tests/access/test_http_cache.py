"""The HTTP cache asks for the same rights as gRPC does."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from http.client import HTTPConnection

import pytest

from tests.access.callers import Tokens, bearer
from tests.serving import Served, serving

DATA = b"a blob over HTTP"
HASH = sha256(DATA).hexdigest()


@dataclass(frozen=True)
class Guarded:
    served: Served
    tokens: Tokens

    def ask(self, method: str, path: str, sent: str | None, body: bytes | None = None) -> int:
        connection = HTTPConnection(self.served.web, timeout=20)
        try:
            headers = {"Authorization": sent} if sent else {}
            connection.request(method, path, body=body, headers=headers)
            answer = connection.getresponse()
            answer.read()
            assert answer.status != 401 or answer.headers["WWW-Authenticate"].startswith("Basic")
            return answer.status
        finally:
            connection.close()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("http")
    tokens = Tokens(folder)
    tokens.add("reader", "ci", "elsewhere")
    settings = tokens.settings({"token:reader": '"reader"', "token:ci": '"ci"'}) + (
        '[[access.grants]]\nwho = ["token:elsewhere"]\nrights = ["admin"]\ninstances = ["b"]\n'
        '[instances.""]\n[instances.b]\n'
    )
    with serving(folder / "server", settings) as made:
        yield Guarded(made, tokens)


def test_blobs_and_results_are_read_and_written_by_who_may(guarded: Guarded) -> None:
    reader, ci = (bearer(guarded.tokens.by_name[name]) for name in ("reader", "ci"))
    blob, result = f"/cas/{HASH}", f"/ac/{HASH}"
    for sent, status in ((None, 401), ("Bearer holdfast_wrong", 401), (reader, 403), (ci, 200)):
        assert guarded.ask("PUT", blob, sent, DATA) == status
    for sent, status in ((None, 401), (reader, 200), (ci, 200)):
        assert guarded.ask("GET", blob, sent) == guarded.ask("HEAD", blob, sent) == status
    for sent, status in ((None, 401), (reader, 403)):
        assert guarded.ask("PUT", result, sent, b"") == status
    assert guarded.ask("GET", result, None) == 401
    assert guarded.ask("GET", result, reader) == 404


def test_a_token_is_the_password_of_a_netrc(guarded: Guarded) -> None:
    pair = base64.b64encode(f"any:{guarded.tokens.by_name['reader']}".encode()).decode()
    assert guarded.ask("GET", f"/ac/{HASH}", f"Basic {pair}") == 404
    assert guarded.ask("GET", f"/ac/{HASH}", "Basic nonsense") == 401


@pytest.mark.parametrize("path", ["/cas/", "/ac/", "/./cas/", "//cas/", "/b/../cas/"])
def test_rights_in_one_instance_are_none_in_another(guarded: Guarded, path: str) -> None:
    sent = bearer(guarded.tokens.by_name["elsewhere"])
    assert guarded.ask("GET", f"{path}{HASH}", sent) in {403, 404}
    assert guarded.ask("PUT", f"{path}{HASH}", sent, DATA) in {403, 404, 405}
    assert guarded.ask("GET", f"/b/ac/{HASH}", sent) == 404
