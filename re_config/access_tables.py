"""What a configuration may say of who may do what, and of how much."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, field

from re_config.table import GIB, MIB, Count, Seconds, Table

Texts = Annotated[tuple[str, ...], Meta(min_length=1)]


class Tls(Table, frozen=True):
    """Encryption, on both ports.

    The files are read again when they change, for new connections. What is unusable then is logged,
    and what was read before stays.
    """

    certificate: str = ""
    """File with the server's certificate and those between it and its root, PEM. Empty: nothing is
    encrypted."""

    key: str = ""
    """File with its private key, PEM, without a password."""

    client_ca: str = ""
    """File with the certificates that clients' certificates are checked by, PEM. Where it is given,
    gRPC answers nobody without one; on the web port they are asked for, and rights decide."""


class Admission(Table, frozen=True):
    """What is under way at most, over all callers.

    Beyond it calls end with RESOURCE_EXHAUSTED and the time after which to try again: uploads and
    executions from 80 % on, what is answered from memory last.
    """

    calls: Count = 20_000
    """Calls, those included that wait for an execution."""

    bytes_in_flight: Annotated[int, Meta(ge=64 * MIB)] = GIB
    """Bytes of requests and answers in memory."""

    stall_seconds: Seconds = 120
    """In as much time that is spent waiting for a client's next message, an upload must bring
    stall_bytes. Else it is ended, and can be gone on with."""

    stall_bytes: Count = 1024
    """Fewest bytes in that time."""

    handshake_seconds: Annotated[float, Meta(ge=1, le=600)] = 20
    """Time in which a new connection must have said what it is."""


class Jwt(Table, frozen=True):
    """Signed tokens, JSON Web Tokens, of one issuer.

    CI systems and identity providers give them out. Who sends one is `user:` and its name.
    """

    keys: str = ""
    """The issuer's JSON Web Key Set: an https:// address, or a file. Empty: no such tokens are
    taken."""

    issuer: str = ""
    """What the claim `iss` must be. Required with keys."""

    audiences: tuple[str, ...] = ()
    """What the claim `aud` must be or hold one of. Required with keys: without it a token for any
    other service would do."""

    algorithms: tuple[
        Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512",
                "EdDSA"], ...
    ] = ("RS256", "PS256", "ES256", "ES384", "EdDSA")  # fmt: skip
    """Algorithms of signatures that are taken. Only such with a public key are possible."""

    name_claim: str = "sub"
    """Claim that names the caller."""

    groups_claim: str = "groups"
    """Claim that lists the caller's groups, for `group:NAME`. Empty: groups are not looked for."""

    leeway_seconds: Annotated[float, Meta(ge=0, le=600)] = 30
    """How far clocks may be apart."""

    max_bytes: Annotated[int, Meta(ge=256, le=64 * 1024)] = 8192
    """Longest token."""


class CallerLimits(Table, frozen=True):
    """What one caller may have under way at one time.

    More ends with RESOURCE_EXHAUSTED and the time after which to try again. Without access control
    callers are not told apart, and server.admission alone counts.
    """

    calls: Count = 5000
    """Calls, those included that wait for an execution. One Buck2 has up to 1,500."""

    bytes_in_flight: Count = GIB // 2
    """Bytes of requests and answers in memory."""

    executions: Count = 20_000
    """Actions that wait or run."""

    open_writes: Count = 500
    """Uploads that are begun and not finished."""


Who = Annotated[
    str,
    Meta(
        pattern=r"^(anonymous|everyone|(user|token|certificate|group):.+)$",
        description="`user:NAME`, `token:NAME`, `certificate:NAME`, `group:NAME`, `everyone` or "
        "`anonymous`",
    ),
]
RightOrRole = Literal[
    "reader", "developer", "ci", "worker", "admin",
    "cas_read", "cas_write", "cache_read", "cache_write", "cache_propose", "execute", "work",
    "pins",
]  # fmt: skip


class Grant(Table, frozen=True):
    """Rights for some callers. What no grant gives is refused."""

    who: Annotated[tuple[Who, ...], Meta(min_length=1)]
    """`token:NAME` of the file of tokens, `user:NAME` of a signed token, `certificate:NAME`,
    `group:NAME`; `everyone` who is one of these; `anonymous`: without credentials, too."""

    rights: Annotated[tuple[RightOrRole, ...], Meta(min_length=1)]
    """Rights, and roles that stand for several. reader: cas_read, cache_read. developer: these,
    cas_write, cache_propose and execute. ci: these and cache_write. worker: cas_read, cas_write and
    work. admin: all."""

    instances: Texts = ("*",)
    """Instance names; `*` for all."""

    limits: dict[Literal["calls", "bytes_in_flight", "executions", "open_writes"], Count] = field(
        default_factory=dict
    )
    """Limits that these callers have in place of those of `access.limits`."""


class Access(Table, frozen=True):
    """Who may do what.

    Access control is on as soon as tokens, jwt.keys, client_certificates or grants are set. Then
    callers without credentials may do what grants give to `anonymous`, by default nothing.
    """

    tokens: str = ""
    """File of static tokens: lines that `holdfast token new NAME` prints, read again when it
    changes. It holds hashes alone."""

    jwt: Jwt = field(default_factory=Jwt)

    client_certificates: Literal["no", "common_name", "dns", "uri", "email"] = "no"
    """What of a client's certificate is its name: the subject's common name, or the first
    alternative name of a kind. Needs server.tls.client_ca."""

    metrics: Literal["open", "granted"] = "granted"
    """Who may read /metrics: anybody, or whoever has any right."""

    grants: tuple[Grant, ...] = ()
    """Who has which rights. All that fit a caller add up."""

    limits: CallerLimits = field(default_factory=CallerLimits)

    @property
    def is_on(self) -> bool:
        """Whether callers are told apart."""
        return bool(self.tokens or self.jwt.keys or self.grants or self.client_certificates != "no")
