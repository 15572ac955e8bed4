"""What is wrong with who may do what, that the types of single fields cannot say."""

from __future__ import annotations

from collections.abc import Iterator

from access.addresses import is_loopback, split_address
from access.identity import Right
from access.policy import ANONYMOUS, ROLES
from re_config.access_tables import Access, Grant, Tls
from re_config.schema import Config, Server


def access_faults(config: Config) -> Iterator[str]:
    """Yield what would lock everybody out, let anybody in, or have no effect."""
    access, tls = config.access, config.server.tls
    yield from _tls_faults(tls)
    yield from _jwt_faults(access)
    if access.client_certificates != "no" and not tls.client_ca:
        yield (
            f'`$.access.client_certificates` is "{access.client_certificates}", and no certificate '
            "is asked for: set `server.tls.client_ca`"
        )
    if access.is_on and not access.grants:
        yield "`$.access` has no grants, so that nobody may do anything: add `[[access.grants]]`"
    for grant in access.grants:
        yield from _grant_faults(grant, config)


def _grant_faults(grant: Grant, config: Config) -> Iterator[str]:
    for name in grant.instances:
        if name != "*" and config.instances and name not in config.instances:
            served = ", ".join(f'"{each}"' for each in sorted(config.instances))
            yield f'`$.access.grants` names the instance "{name}": there are {served}, and "*"'
    if ANONYMOUS in grant.who and any(map(_proposes, grant.rights)):
        yield (
            "`$.access.grants` lets anonymous callers propose results: they are not told apart, "
            "and would be answered one another's"
        )
    for who in grant.who:
        if fault := _nobody(who, config.access):
            yield f"`$.access.grants` names {who}, whom nobody can be: {fault}"


def _proposes(named: str) -> bool:
    return named == Right.CACHE_PROPOSE or (
        Right.CACHE_PROPOSE in ROLES.get(named, ()) and Right.CACHE_WRITE not in ROLES[named]
    )


def _nobody(who: str, access: Access) -> str:
    kind = who.partition(":")[0]
    if kind == "token" and not access.tokens:
        return "set `access.tokens`"
    if kind in {"user", "group"} and not access.jwt.keys:
        return "set `access.jwt.keys`"
    if kind == "certificate" and access.client_certificates == "no":
        return "set `access.client_certificates`"
    return ""


def _tls_faults(tls: Tls) -> Iterator[str]:
    if bool(tls.certificate) != bool(tls.key):
        lacking = "key" if tls.certificate else "certificate"
        yield f"`$.server.tls.{lacking}` is empty: certificate and key go together"
    if tls.client_ca and not tls.certificate:
        yield "`$.server.tls.client_ca` needs `certificate` and `key`"


def _jwt_faults(access: Access) -> Iterator[str]:
    jwt = access.jwt
    for field, value in (("issuer", jwt.issuer), ("audiences", jwt.audiences)):
        if jwt.keys and not value:
            yield f"`$.access.jwt.{field}` is empty: tokens for other services would be taken"
        if value and not jwt.keys:
            yield f"`$.access.jwt.{field}` has no effect without `keys`"
    if jwt.keys and not jwt.algorithms:
        yield "`$.access.jwt.algorithms` is empty: no token would be taken"
    if jwt.keys.startswith("http://"):
        yield "`$.access.jwt.keys` is not encrypted, so that anybody could sign: use https://"


def listening_faults(server: Server, access: Access) -> Iterator[str]:
    """Yield where other machines could reach what nothing protects."""
    for field, address in (("listen", server.listen), ("web", server.web)):
        host, _ = split_address(address)
        if is_loopback(host) or server.allow_insecure_listen:
            continue
        lacking = []
        if not server.tls.certificate:
            lacking.append("nothing is encrypted: set `server.tls`")
        if not access.is_on:
            lacking.append(
                "no caller is checked, so that whoever reaches it can read and write everything "
                "and run commands: set `access`"
            )
        if lacking:
            yield (
                f"`$.server.{field}` is {address}, which other machines can reach, and "
                f"{'; '.join(lacking)} (docs/security.md says how). Or listen on 127.0.0.1, or set "
                "`server.allow_insecure_listen = true` if the network is trusted"
            )
