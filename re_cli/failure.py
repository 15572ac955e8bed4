"""Expected errors, as one line and an exit status: the one table of the command line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import click

from cas.digest import InvalidDigest
from cas.folder import Unsendable
from cas.store import BlobNotFound, DigestMismatch
from cas.tree import InvalidMessage, MissingInputs
from re_client.command_line import InvalidPath
from re_client.connection import InvalidServer
from re_client.credentials import InvalidCredentials
from re_client.status import (
    NotAllowed,
    NotServed,
    OutOfRange,
    Overloaded,
    Refused,
    ServerFailed,
    Unserved,
)
from re_client.upload import FileChanged
from re_config.load import InvalidConfig

FAILED, USAGE, UNREACHABLE = 1, 2, 3

_STATUSES: Mapping[type[Exception], int] = {
    InvalidConfig: USAGE,
    InvalidDigest: USAGE,
    InvalidPath: USAGE,
    InvalidCredentials: USAGE,
    InvalidServer: USAGE,
    Unsendable: USAGE,
    ConnectionError: UNREACHABLE,
    BlobNotFound: FAILED,
    DigestMismatch: FAILED,
    FileChanged: FAILED,
    InvalidMessage: FAILED,
    MissingInputs: FAILED,
    NotAllowed: FAILED,
    NotImplementedError: FAILED,
    NotServed: FAILED,
    OSError: FAILED,
    OutOfRange: FAILED,
    Overloaded: FAILED,
    Refused: FAILED,
    ServerFailed: FAILED,
    TimeoutError: FAILED,
    Unserved: FAILED,
}


@contextmanager
def reported(*also: type[Exception]) -> Iterator[None]:
    """End the command with one line for what the block raises, if it is in the table or `also`."""
    known = (*_STATUSES, *also)
    try:
        yield
    except BrokenPipeError:
        raise
    except known as error:
        raise fail(said(error), _status(error)) from None
    except ExceptionGroup as group:
        cause = _first(group)
        if not isinstance(cause, known):
            raise
        raise fail(said(cause), _status(cause)) from None


def _first(error: Exception) -> Exception:
    """Return the first of what a task group collected."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


def _status(error: Exception) -> int:
    known = (_STATUSES[kind] for kind in type(error).__mro__ if kind in _STATUSES)
    return next(known, FAILED)


def fail(message: str, status: int = FAILED) -> click.exceptions.Exit:
    """Say `message` in one line on stderr; return what to raise to end the command."""
    click.echo(f"holdfast: {' '.join(message.split())}", err=True)
    return click.exceptions.Exit(status)


def said(error: Exception) -> str:
    """Return what `error` says, with the way out where there is one."""
    text = str(error) or type(error).__name__
    if isinstance(error, ConnectionError):
        return f"{text}; is `holdfast serve` running there? (--server, HOLDFAST_SERVER)"
    if isinstance(error, NotImplementedError):
        return f"the server does not offer this: {text}"
    return text
