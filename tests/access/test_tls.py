from __future__ import annotations

import os
import socket
import ssl
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError

import grpc
import pytest
from cryptography import x509

from access.followed import LOOK_SECONDS, Followed
from protos import remote_execution_pb2 as reapi
from re_config.access_tables import Tls
from re_config.load import InvalidConfig
from re_server.tls import certificates
from tests.access.callers import Tokens, bearer, calling
from tests.access.certificates import Authority, Signed
from tests.protocol.peer import Peer, refused
from tests.serving import HOLDFAST, Served, serving

WAIT_SECONDS = 20.0


@dataclass(frozen=True)
class Secured:
    """A server with TLS. signed: the files that it reads."""

    served: Served
    authority: Authority
    signed: Signed
    tokens: Tokens


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    folder = tmp_path_factory.mktemp("tls")
    authority, tokens = Authority(folder / "ca"), Tokens(folder)
    signed = authority.sign("server")
    tokens.add("alice")
    settings = (
        f'server.tls.certificate = "{signed.certificate}"\nserver.tls.key = "{signed.key}"\n'
        "server.admission.handshake_seconds = 1\n"
    ) + tokens.settings({"token:alice": '"developer"'})
    with serving(folder / "server", settings) as made:
        yield Secured(made, authority, signed, tokens)


@pytest.fixture(scope="module")
def mutual(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    folder = tmp_path_factory.mktemp("mutual")
    authority, tokens = Authority(folder / "ca"), Tokens(folder)
    signed = authority.sign("server")
    tokens.add("bob")
    settings = (
        f'server.tls.certificate = "{signed.certificate}"\nserver.tls.key = "{signed.key}"\n'
        f'server.tls.client_ca = "{authority.ca.certificate}"\n'
        f'[access]\ntokens = "{tokens.file}"\nclient_certificates = "uri"\n'
        '[[access.grants]]\nwho = ["certificate:spiffe://here/alice"]\nrights = ["developer"]\n'
        '[[access.grants]]\nwho = ["token:bob"]\nrights = ["reader"]\n'
    )
    with serving(folder / "server", settings) as made:
        yield Secured(made, authority, signed, tokens)


def knowing(authority: Authority, own: Signed | None = None) -> grpc.ChannelCredentials:
    if own is None:
        return grpc.ssl_channel_credentials(authority.ca.pem)
    return grpc.ssl_channel_credentials(authority.ca.pem, own.key.read_bytes(), own.pem)


def capabilities(peer: Peer) -> reapi.ServerCapabilities:
    return peer.capabilities.GetCapabilities(reapi.GetCapabilitiesRequest(), timeout=WAIT_SECONDS)


def shown(address: str) -> x509.Name:
    """Return whose certificate a new connection is shown."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    host, _, port = address.rpartition(":")
    with (
        socket.create_connection((host, int(port)), timeout=WAIT_SECONDS) as plain,
        context.wrap_socket(plain) as wrapped,
    ):
        certificate = wrapped.getpeercert(binary_form=True)
    assert certificate is not None
    return x509.load_der_x509_certificate(certificate).subject


def test_who_knows_the_authority_is_served_and_nobody_else(secured: Secured) -> None:
    sent = bearer(secured.tokens.by_name["alice"])
    with calling(secured.served.grpc, sent, knowing(secured.authority)) as peer:
        assert capabilities(peer).execution_capabilities.exec_enabled
    for stranger in (None, grpc.ssl_channel_credentials()):
        with (
            calling(secured.served.grpc, sent, stranger) as peer,
            refused(grpc.StatusCode.UNAVAILABLE),
        ):
            capabilities(peer)


def test_the_commands_speak_tls_and_send_the_token_of_a_file(
    secured: Secured, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text(secured.tokens.by_name["alice"] + "\n")
    known = {
        "HOLDFAST_SERVER": f"grpcs://{secured.served.grpc}",
        "HOLDFAST_TLS_CA": str(secured.authority.ca.certificate),
    }

    def status(more: dict[str, str], *options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [HOLDFAST, "status", *options],
            env={**os.environ, **known, **more},
            capture_output=True,
            text=True,
            check=False,
        )

    assert status({}, "--token-file", str(tmp_path / "token")).returncode == 0
    assert status({"HOLDFAST_TOKEN": secured.tokens.by_name["alice"]}).returncode == 0
    without = status({})
    assert without.returncode == 1
    assert "authorization: Bearer" in without.stderr
    wrong = status({"HOLDFAST_TOKEN": "holdfast_wrong"})
    assert wrong.returncode == 1
    assert "not known" in wrong.stderr
    assert "holdfast_wrong" not in wrong.stderr


def test_a_worker_elsewhere_needs_the_right_to_work(secured: Secured, tmp_path: Path) -> None:
    (tmp_path / "holdfast.toml").write_text(f'worker.path = "{tmp_path}/worker"\n')
    done = subprocess.run(
        [HOLDFAST, "worker", "--config", tmp_path / "holdfast.toml"],
        env={
            **os.environ,
            "HOLDFAST_SERVER": f"grpcs://{secured.served.grpc}",
            "HOLDFAST_TLS_CA": str(secured.authority.ca.certificate),
            "HOLDFAST_TOKEN": secured.tokens.by_name["alice"],
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert "token:alice has no right `work` in all instances" in done.stderr


def test_a_connection_that_says_nothing_is_closed(secured: Secured) -> None:
    host, _, port = secured.served.grpc.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=WAIT_SECONDS) as silent:
        assert silent.recv(1) == b""


def test_files_that_are_replaced_are_served_and_unusable_ones_are_not(secured: Secured) -> None:
    served, signed = secured.served, secured.signed
    before = shown(served.grpc)
    other = secured.authority.sign("another server")
    signed.certificate.write_bytes(b"half a certif")
    until(lambda: "what was read before stays" in served.log.read_text(), served)
    assert shown(served.grpc) == shown(served.web) == before
    signed.certificate.write_bytes(other.pem)
    signed.key.write_bytes(other.key.read_bytes())
    for address in (served.grpc, served.web):
        until(lambda address=address: shown(address) != before, served)  # type: ignore[misc]  # no default for it
    with calling(
        served.grpc, bearer(secured.tokens.by_name["alice"]), knowing(secured.authority)
    ) as peer:
        capabilities(peer)


def until(true: Callable[[], bool], served: Served) -> None:
    """Open connections until one shows it: files are looked at when one begins."""
    for _ in range(200):
        if true():
            return
        shown(served.grpc)
    raise AssertionError(served.log.read_text())


def test_a_certificate_says_who_calls_and_none_is_turned_away(mutual: Secured) -> None:
    alice = mutual.authority.sign("alice", x509.UniformResourceIdentifier("spiffe://here/alice"))
    eve = mutual.authority.sign("eve", x509.UniformResourceIdentifier("spiffe://here/eve"))
    forged = Authority(mutual.authority.ca.key.parent / "other").sign(
        "alice", x509.UniformResourceIdentifier("spiffe://here/alice")
    )
    address = mutual.served.grpc
    with calling(address, None, knowing(mutual.authority, alice)) as peer:
        assert capabilities(peer).execution_capabilities.exec_enabled
        assert peer.has(peer.put_one(b"by certificate"))
    with (
        calling(address, None, knowing(mutual.authority, eve)) as peer,
        refused(grpc.StatusCode.PERMISSION_DENIED, naming="certificate:spiffe://here/eve"),
    ):
        capabilities(peer)
    for stranger in (None, forged):
        with (
            calling(address, None, knowing(mutual.authority, stranger)) as peer,
            refused(grpc.StatusCode.UNAVAILABLE),
        ):
            capabilities(peer)


def test_a_token_says_more_than_the_certificate_that_it_comes_with(mutual: Secured) -> None:
    alice = mutual.authority.sign("alice", x509.UniformResourceIdentifier("spiffe://here/alice"))
    sent = bearer(mutual.tokens.by_name["bob"])
    with calling(mutual.served.grpc, sent, knowing(mutual.authority, alice)) as peer:
        assert not capabilities(peer).execution_capabilities.exec_enabled


def fetched(secured: Secured, path: str, own: Signed | None = None, sent: str = "") -> int:
    context = ssl.create_default_context(cafile=str(secured.authority.ca.certificate))
    if own is not None:
        context.load_cert_chain(own.certificate, own.key)
    headers = {"Authorization": sent} if sent else {}
    request = urllib.request.Request(f"https://{secured.served.web}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=WAIT_SECONDS, context=context) as answer:
            return int(answer.status)
    except HTTPError as error:
        error.close()
        return error.code


def test_the_web_port_asks_for_the_same_proofs(secured: Secured, mutual: Secured) -> None:
    alice = mutual.authority.sign("alice", x509.UniformResourceIdentifier("spiffe://here/alice"))
    eve = mutual.authority.sign("eve")
    assert fetched(mutual, "/healthz") == fetched(secured, "/healthz") == 200
    assert fetched(mutual, "/metrics") == fetched(secured, "/metrics") == 401
    assert fetched(mutual, "/metrics", alice) == 200
    assert fetched(mutual, "/metrics", eve) == 401
    assert fetched(secured, "/metrics", sent=bearer(secured.tokens.by_name["alice"])) == 200
    assert fetched(secured, "/metrics", sent="Bearer holdfast_wrong") == 401


def test_a_token_that_is_withdrawn_is_refused_within_a_second(tmp_path: Path) -> None:
    now = [0.0]
    tokens = Tokens(tmp_path)
    tokens.add("alice", "bob")
    followed = Followed((tokens.file,), tokens.file.read_text, clock=lambda: now[0])
    tokens.withdraw("bob")
    assert "bob" in followed.current()
    now[0] += LOOK_SECONDS
    assert "bob" not in followed.current()
    tokens.file.unlink()
    now[0] += LOOK_SECONDS
    assert "alice" in followed.current()


def test_files_that_are_not_usable_are_named_at_the_start(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    one, other = authority.sign("one"), authority.sign("other")
    (tmp_path / "text").write_text("no certificate")
    good = (str(one.certificate), str(one.key))
    for tls, told in (
        (Tls(certificate=f"{tmp_path}/absent", key=good[1]), r"server\.tls\.certificate .*absent"),
        (Tls(certificate=good[0], key=f"{tmp_path}/absent"), r"server\.tls\.key .*absent"),
        (Tls(certificate=good[0], key=str(other.key)), "must print the same"),
        (Tls(certificate=f"{tmp_path}/text", key=good[1]), "are no certificate and its key"),
        (Tls(certificate=good[0], key=good[1], client_ca=f"{tmp_path}/text"), "client_ca"),
    ):
        with pytest.raises(InvalidConfig, match=told):
            certificates(tls)
    assert certificates(Tls()) is None
