"""TLS on both ports, with files that may change under a running server."""

from __future__ import annotations

import ssl
from dataclasses import dataclass

import grpc

from access.followed import Followed
from re_config.access_tables import Tls
from re_config.load import InvalidConfig, expanded


class Unusable(ValueError):
    """A file is no certificate, or no key, or they do not fit. Names the field and the file."""


@dataclass(frozen=True, slots=True)
class Material:
    """What connections that begin now are encrypted with."""

    grpc: grpc.ServerCertificateConfiguration
    web: ssl.SSLContext


Certificates = Followed[Material]


def certificates(tls: Tls) -> Certificates | None:
    """Read the files that `tls` names; None where it names none. Raises InvalidConfig."""
    if not tls.certificate:
        return None
    named = [expanded(path) for path in (tls.certificate, tls.key, tls.client_ca) if path]
    try:
        return Followed(tuple(named), lambda: _read(tls))
    except ValueError as error:
        raise InvalidConfig(str(error)) from None


def _read(tls: Tls) -> Material:
    certificate = _bytes("certificate", tls.certificate)
    key = _bytes("key", tls.key)
    authority = _bytes("client_ca", tls.client_ca) if tls.client_ca else None
    web = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    web.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        web.load_cert_chain(expanded(tls.certificate), expanded(tls.key), password=_no_password)
    except (ssl.SSLError, OSError) as error:
        raise Unusable(
            f"server.tls.certificate {tls.certificate} and server.tls.key {tls.key} are no "
            f"certificate and its key in PEM: {_reason(error)}; `openssl x509 -noout -pubkey -in "
            "CERTIFICATE` and `openssl pkey -pubout -in KEY` must print the same"
        ) from None
    if authority is not None:
        try:
            web.load_verify_locations(cadata=authority.decode("ascii"))
        except (ssl.SSLError, UnicodeDecodeError) as error:
            raise Unusable(
                f"server.tls.client_ca {tls.client_ca} has no certificates in PEM: {_reason(error)}"
            ) from None
        web.verify_mode = ssl.CERT_OPTIONAL
    return Material(grpc.ssl_server_certificate_configuration([(key, certificate)], authority), web)


def _bytes(field: str, path: str) -> bytes:
    try:
        return expanded(path).read_bytes()
    except OSError as error:
        raise Unusable(f"server.tls.{field} {path} cannot be read: {error.strerror}") from None


def _reason(error: Exception) -> str:
    return str(getattr(error, "reason", None) or error).replace("_", " ").lower()


def _no_password() -> str:
    """Answer in place of a person: OpenSSL would ask on the terminal, and wait."""
    return ""


def server_credentials(files: Certificates, *, verified: bool) -> grpc.ServerCredentials:
    """Return credentials that are asked for at each handshake.

    verified: clients must have a certificate. Without it gRPC asks for none.
    """
    return grpc.dynamic_ssl_server_credentials(
        files.current().grpc,
        lambda: files.current().grpc,
        require_client_authentication=verified,
    )


def web_context(files: Certificates) -> ssl.SSLContext:
    """Return a context in which each handshake goes by what the files say then."""
    context = files.current().web

    def take_current(
        connection: ssl.SSLSocket | ssl.SSLObject, _name: str | None, _context: ssl.SSLContext
    ) -> None:
        connection.context = files.current().web

    context.sni_callback = take_current
    return context
