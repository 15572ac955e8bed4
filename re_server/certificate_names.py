"""Whom a client's certificate names. What it says was verified by the handshake."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

VERIFIED = "x509_pem_cert"  # of gRPC's properties: there with a certificate alone
_PROPERTIES = {
    "common_name": "x509_common_name",
    "dns": "peer_dns",
    "uri": "peer_uri",
    "email": "peer_email",
}
_ALTERNATIVES = {"dns": "DNS", "uri": "URI", "email": "email"}


def name_of_peer(properties: Mapping[str, Iterable[bytes]], kind: str) -> str | None:
    """Return the name in gRPC's account of a peer: "" if it has none, None without certificate.

    kind: as in access.client_certificates.
    """
    if kind == "no" or VERIFIED not in properties:
        return None
    for value in properties.get(_PROPERTIES[kind], ()):
        return value.decode(errors="replace")
    return ""


def name_in_certificate(certificate: Mapping[str, object] | None, kind: str) -> str | None:
    """Return the same of `ssl.SSLSocket.getpeercert()`, which is empty without certificate."""
    if kind == "no" or not certificate:
        return None
    if kind == "common_name":
        subject = certificate.get("subject", ())
        assert isinstance(subject, tuple)
        named = [value for part in subject for name, value in part if name == "commonName"]
    else:
        alternatives = certificate.get("subjectAltName", ())
        assert isinstance(alternatives, tuple)
        named = [value for name, value in alternatives if name == _ALTERNATIVES[kind]]
    return named[0] if named else ""
