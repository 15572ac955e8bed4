"""What Prometheus is told."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from google.rpc.code_pb2 import Code
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from access.admission import Admission
from action_cache.cache import ActionCache
from assets.index import Kind
from assets.library import Library
from cas.disk_open import OpenStore
from determinism.judge import Judge
from determinism.policy import Verdict
from protos import remote_execution_pb2 as reapi
from re_server.log_streams import LogStreams
from re_server.open_writes import OpenWrites
from scheduler.dispatch import Dispatcher
from scheduler.platform import Requirement, listed

CALL_SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300)
WAIT_SECONDS = (0.01, 0.1, 1, 5, 15, 60, 300, 1800)
MAX_PLATFORMS = 50  # told apart in labels; what comes later is counted as "other"

_Values = Iterable[tuple[tuple[str, ...], float]]


class CallMetrics:
    """Calls by method and code, and how long they took."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._calls = Counter(
            "holdfast_calls", "gRPC calls that ended.", ["method", "code"], registry=registry
        )
        self._seconds = Histogram(
            "holdfast_call_seconds",
            "Time from a call's request to its last answer, in seconds.",
            ["method"],
            buckets=CALL_SECONDS,
            registry=registry,
        )
        self._known: dict[tuple[str, str], tuple[Counter, Histogram]] = {}

    def finished(self, method: str, code: str, seconds: float) -> None:
        """Count one call."""
        known = self._known.get((method, code))
        if known is None:
            known = (self._calls.labels(method, code), self._seconds.labels(method))
            self._known[method, code] = known
        known[0].inc()
        known[1].observe(seconds)


class HttpMetrics:
    """Requests to the HTTP cache."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "holdfast_http_requests",
            "Requests to the HTTP cache that were answered.",
            ["method", "kind", "status"],
            registry=registry,
        )

    def answered(self, method: str, kind: str, status: int) -> None:
        """Count one request. kind: `ac` or `cas`."""
        self._requests.labels(method, kind, str(status)).inc()


class AssetMetrics:
    """Assets that were asked for, and those that are known."""

    def __init__(self, registry: CollectorRegistry, library: Library) -> None:
        self._answers = Counter(
            "holdfast_asset_answers",
            "Answers to FetchBlob and FetchDirectory, by the status inside.",
            ["kind", "code"],
            registry=registry,
        )
        known = Gauge("holdfast_assets", "Assets that are remembered.", registry=registry)
        known.set_function(library.count)
        fetching = Gauge(
            "holdfast_asset_fetches",
            "Fetches that are under way or wait for their turn.",
            registry=registry,
        )
        fetching.set_function(library.fetching)

    def answered(self, kind: Kind, code: int) -> None:
        """Count one answer."""
        self._answers.labels(kind.value, Code.Name(code)).inc()


class ExecutionMetrics:
    """Executions by outcome, and how long they waited."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.outcomes = Counter(
            "holdfast_executions", "Executions that ended.", ["outcome"], registry=registry
        )
        self.waits = Histogram(
            "holdfast_queue_wait_seconds",
            "Time from an action's request to its start on a worker, in seconds.",
            ["platform"],
            buckets=WAIT_SECONDS,
            registry=registry,
        )
        self._platforms: set[str] = set()

    def counted(self, response: reapi.ExecuteResponse) -> None:
        """Count one execution that a worker has ended."""
        outcome = "success" if not response.result.exit_code else "failure"
        if response.status.code:
            outcome = Code.Name(response.status.code).lower()
        self.outcomes.labels(outcome).inc()

    def started(self, required: Requirement, waited_seconds: float) -> None:
        """Count one start."""
        self.waits.labels(self.label(required)).observe(waited_seconds)

    def label(self, required: Requirement) -> str:
        """Name a platform: clients choose these, so that there could be any number of them."""
        name = listed(required)
        if name not in self._platforms and len(self._platforms) >= MAX_PLATFORMS:
            return "other"
        self._platforms.add(name)
        return name


class StateCollector(Collector):
    """What the parts of the server know of themselves, read when Prometheus asks."""

    def __init__(
        self,
        *,
        store: OpenStore,
        cache: ActionCache,
        judge: Judge,
        count_pins: Callable[[], int],
        writes: OpenWrites,
        logs: LogStreams,
        admission: Admission,
        dispatcher: Dispatcher | None,
        label: Callable[[Requirement], str],
    ) -> None:
        self._blobs = store.blobs
        self._room = store.room
        self._cache = cache
        self._judge = judge
        self._count_pins = count_pins
        self._writes = writes
        self._logs = logs
        self._admission = admission
        self._dispatcher = dispatcher
        self._label = label

    def collect(self) -> Iterable[Metric]:
        totals = self._room.totals()
        evicted = self._room.evicted
        packed = self._room.packed_totals()
        yield _gauge("holdfast_store_bytes", "Bytes of blobs as they are stored.", totals.bytes)
        yield _gauge(
            "holdfast_store_plain_bytes",
            "Bytes of the same blobs, none of them compressed.",
            totals.bytes + packed.saved,
        )
        yield _gauge("holdfast_store_blobs", "Blobs in the store.", totals.blobs)
        yield _gauge(
            "holdfast_store_packed_blobs", "Blobs that are stored compressed.", packed.blobs
        )
        yield _gauge(
            "holdfast_store_max_bytes", "Bytes the store may hold.", self._room.limits.max_bytes
        )
        yield _counter("holdfast_store_evicted_blobs", "Blobs evicted.", [((), evicted.blobs)])
        yield _counter("holdfast_store_evicted_bytes", "Bytes evicted.", [((), evicted.bytes)])
        yield _counter(
            "holdfast_store_quarantined_blobs",
            "Blobs whose bytes were found to be wrong or gone.",
            [((), self._blobs.counters.quarantined)],
        )
        yield _counter(
            "holdfast_store_refused_writes",
            "Uploads refused for want of room.",
            [((), self._blobs.counters.refused)],
        )
        yield _gauge("holdfast_open_writes", "Uploads that are under way.", len(self._writes))
        yield _gauge("holdfast_logs", "Logs that are open or kept.", len(self._logs))
        yield _gauge("holdfast_log_bytes", "Bytes of logs on disk.", self._logs.size)
        yield _gauge("holdfast_calls_in_flight", "Calls under way.", self._admission.calls)
        yield _gauge(
            "holdfast_bytes_in_flight",
            "Bytes of requests and answers in memory.",
            self._admission.bytes,
        )
        yield _counter(
            "holdfast_action_cache_lookups",
            "Look-ups in the action cache. incomplete: there was a result, and a blob of it gone.",
            [
                (("hit",), self._cache.hits),
                (("miss",), self._cache.misses),
                (("incomplete",), self._cache.incomplete),
            ],
            labels=["outcome"],
        )
        yield _counter(
            "holdfast_results",
            "Results of actions, by what they were to the pinned one.",
            [((str(verdict),), self._judge.settled[verdict]) for verdict in Verdict],
            labels=["verdict"],
        )
        yield _gauge("holdfast_pins", "Pinned results.", self._count_pins())
        if self._dispatcher is not None:
            yield from self._scheduling(self._dispatcher)

    def _scheduling(self, dispatcher: Dispatcher) -> Iterable[Metric]:
        depths = GaugeMetricFamily(
            "holdfast_queue_depth", "Actions that wait for a worker.", labels=["platform"]
        )
        waiting: dict[str, int] = {}
        for required, depth in dispatcher.depths().items():
            label = self._label(required)
            waiting[label] = waiting.get(label, 0) + depth
        for label, depth in waiting.items():
            depths.add_metric([label], depth)
        yield depths
        workers = dispatcher.workers()
        yield _gauge("holdfast_executing", "Actions that workers run.", dispatcher.executing)
        yield _gauge("holdfast_workers", "Connected workers.", len(workers))
        yield _gauge(
            "holdfast_worker_slots", "Slots of all workers.", sum(each.slots for each in workers)
        )


def _gauge(name: str, help: str, value: float) -> Metric:
    return GaugeMetricFamily(name, help, value=value)


def _counter(name: str, help: str, values: _Values, *, labels: Iterable[str] = ()) -> Metric:
    family = CounterMetricFamily(name, help, labels=list(labels))
    for label, value in values:
        family.add_metric(list(label), value)
    return family
