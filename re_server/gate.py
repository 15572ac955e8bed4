"""Through here every call goes: who it is, what it may, whether there is room for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import Message

from access.admission import Admission
from access.authenticator import Authenticator
from access.identity import NOBODY, Identity, current_identity
from access.pace import LeastPace, Pace
from access.refusal import Doubt, NotAuthenticated
from re_server.authorisation import Needed, authorise
from re_server.certificate_names import name_of_peer
from re_server.refusals import Refusals

LOOKS = 4  # in the time that a client has to send something
CREDENTIALS_HEADER = "authorization"

_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Metadata = Iterable[tuple[str, str | bytes]]


class Stalled(ConnectionError):
    """The client sent too little for too long. What it has sent stays."""

    def __init__(self, least: LeastPace) -> None:
        super().__init__(
            f"less than {least.bytes} bytes came in {least.seconds:g} s of waiting for them: "
            "server.admission.stall_seconds; an upload can be gone on with"
        )


@dataclass(frozen=True, slots=True)
class Gate:
    """needed: by `Service/Method`. authenticator: None where callers are not told apart.

    certificate_name: as access.client_certificates. served: all instance names; none where every
    name is served.
    """

    needed: Mapping[str, Needed]
    admission: Admission
    least: LeastPace
    refusals: Refusals
    authenticator: Authenticator | None
    certificate_name: str
    served: tuple[str, ...]

    def known(self, metadata: Metadata) -> Identity | None:
        """Return the caller by its headers, before anything else of the call has come.

        NOBODY: its certificate has to be looked at. None: `authenticate` has to be asked. To be
        called only where there is an authenticator.
        """
        assert self.authenticator is not None
        credentials = credentials_in(metadata)
        if credentials is not None:
            return self.authenticator.known(credentials)
        if self.authenticator.certificates or self.authenticator.anonymous.grants:
            return NOBODY
        return None

    async def authenticate(self, metadata: Metadata) -> Identity:
        """Return the caller by its headers; raise NotAuthenticated."""
        assert self.authenticator is not None
        credentials = credentials_in(metadata)
        if credentials is None:
            raise NotAuthenticated(
                Doubt.ABSENT, "the call has no credentials: send `authorization: Bearer TOKEN`"
            )
        return await self.authenticator.authenticate(credentials)

    def caller(self, context: _Context) -> Identity:
        """Return who calls, and have it stand in `current_identity`."""
        identity = current_identity.get()
        if identity is not NOBODY or self.authenticator is None:
            return identity
        name = name_of_peer(context.auth_context(), self.certificate_name)
        if name is not None:
            identity = self.authenticator.certified(name)
        else:
            identity = self.authenticator.anonymous
        current_identity.set(identity)
        return identity

    def hold_until_sent(self, identity: Identity, size: int, context: _Context) -> None:
        """Count an answer's bytes until the call has ended, which a slow reader can put off."""
        self.admission.add(identity, size)

        def sent(_call: object) -> None:
            self.admission.add(identity, -size)

        context.add_done_callback(sent)  # type: ignore[arg-type]  # the stubs want a class of theirs

    def authorise(self, identity: Identity, needed: Needed, request: Any) -> None:
        """Raise RightMissing or NotAuthenticated unless the call may be answered."""
        if self.authenticator is not None:
            authorise(identity, needed, needed.place(request), self.served)

    async def messages(
        self, identity: Identity, needed: Needed, messages: AsyncIterable[Any]
    ) -> AsyncGenerator[Any, None]:
        """Yield a stream's messages, looked at as `needed` says, and counted while they are here.

        Raises what `authorise` does, and Stalled.
        """
        size, look = 0, True
        source = paced(messages, self.least, needed.patient) if needed.paced else None
        try:
            async for message in messages if source is None else source:
                if look:
                    self.authorise(identity, needed, message)
                    look = needed.each
                came = len(message) if isinstance(message, bytes) else 0
                self.admission.add(identity, came - size)
                size = came
                yield message
        finally:
            self.admission.add(identity, -size)
            if source is not None:
                await source.aclose()


def credentials_in(metadata: Metadata) -> str | None:
    """Return the value of the first header of credentials."""
    for name, value in metadata:
        if name == CREDENTIALS_HEADER:
            return value if isinstance(value, str) else ""
    return None


async def paced(
    messages: AsyncIterable[Any], least: LeastPace, patient: Callable[[Any], bool]
) -> AsyncGenerator[Any, None]:
    """Yield `messages`; raise Stalled where the client keeps them waiting for too long.

    patient: tells by the first message whether those behind it may take as long as they like.
    One timer a stream, and none a message: a large upload has thousands.
    """
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    pace, stalled, first = Pace(least), False, True

    def look() -> None:
        nonlocal stalled
        if pace.too_slow(loop.time()):  # and so this is waiting, and nothing else is cancelled
            stalled = True
            task.cancel()
        else:
            looks[0] = loop.call_later(least.seconds / LOOKS, look)

    looks = [loop.call_later(least.seconds / LOOKS, look)]
    pace.ask(loop.time())
    try:
        async for message in messages:
            size = message.ByteSize() if isinstance(message, Message) else len(message)
            pace.came(loop.time(), size)
            if first and patient(message):
                looks[0].cancel()
            first = False
            yield message
            pace.ask(loop.time())
    except asyncio.CancelledError:
        if stalled and not task.uncancel():
            raise Stalled(least) from None
        raise
    finally:
        looks[0].cancel()
