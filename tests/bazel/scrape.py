"""What a running server counts, read as Prometheus reads it."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

TIMEOUT_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Scrape:
    """The samples of one moment."""

    samples: tuple[Sample, ...]

    def total(self, name: str, **labels: str) -> float:
        """Return the sum of the samples called `name` that carry `labels`.

        Raises KeyError where the server has no metric of that name; what has not happened yet is 0.
        """
        named = [sample for sample in self.samples if sample.name == name]
        if not named and not any(name.startswith(sample.name) for sample in self.samples):
            raise KeyError(name)
        return sum(sample.value for sample in named if labels.items() <= sample.labels.items())


def scrape(web: str) -> Scrape:
    """Read /metrics of the server whose HTTP address is `web`, HOST:PORT."""
    with urlopen(f"http://{web}/metrics", timeout=TIMEOUT_SECONDS) as answer:
        text = answer.read().decode()
    families = text_string_to_metric_families(text)
    return Scrape(tuple(sample for family in families for sample in family.samples))
