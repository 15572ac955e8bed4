"""Why an asset could not be had, for reasons that are not this server's."""

from __future__ import annotations


class OriginFault(Exception):
    """An origin did not give what was asked of it. Each kind below has its own status code."""


class AssetNotFound(OriginFault):
    """There is nothing at the place that is named."""


class OriginRefused(OriginFault):
    """The origin is not one that may be fetched from, or gives this asset to others alone."""


class OriginUnreachable(OriginFault):
    """The origin does not answer, breaks off, or says that it has a fault."""


class FetchTooSlow(OriginFault):
    """The time for the fetch was over first."""


class AssetTooLarge(OriginFault):
    """The asset, or what it unpacks to, is over a bound."""


class ContentMismatch(OriginFault):
    """What came is not what the qualifiers say, or cannot be made into what was asked for."""


class NotHad(Exception):
    """None of the URIs gave the asset.

    uri, fault: the last that was tried ("" where none was given), and what went wrong there. The
    message tells of all.
    """

    def __init__(self, faults: list[tuple[str, OriginFault]]) -> None:
        self.uri, self.fault = faults[-1]
        super().__init__(
            "; ".join(f"{uri}: {fault}" if uri else str(fault) for uri, fault in faults)
        )
