"""Every parser that bytes from the network reach, by the name of its corpus."""

from __future__ import annotations

from collections.abc import Mapping

from fuzz import assets, codecs, files, messages, names, requests
from fuzz.target import Target

TARGETS: Mapping[str, Target] = {
    **requests.TARGETS,
    **names.TARGETS,
    **messages.TARGETS,
    **codecs.TARGETS,
    **assets.TARGETS,
    **files.TARGETS,
}
