"""GET /metrics: what Prometheus reads, over all workers and the committer.

Each worker counts into a file of its own (prometheus_client's multi-process mode), so that
whichever worker answers speaks for all; the committer's numbers come over its socket. Nothing is
labelled by merchant. Only the addresses in the settings may read it; others find nothing here.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from flask import Blueprint, Response, request
from prometheus_client import CollectorRegistry, multiprocess
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from clearline.codes import Code, Refusal
from gateway import tally
from gateway.http import Services, services

blueprint = Blueprint("metrics", __name__)
_GAUGES: Final = {
    "last_block": "The last block applied to the projection.",
    "queue_depth": "Intents waiting for the ledger or on their way.",
    "queue_ready": "Intents that could go with the next batch.",
    "queue_in_flight_batches": "Batches on their way.",
    "queue_merchants": "Merchants with intents in the queue.",
}
_COUNTERS: Final = {
    "queue_committed": "Intents the ledger decided.",
    "queue_refused": "Intents the network refuses for good.",
    "queue_split_batches": "Batches that failed and were split.",
    "queue_endorsed": "Endorsements.",
    "queue_submitted": "Envelopes submitted.",
    "queue_resubmitted": "Envelopes submitted again.",
    "queue_answered_unordered": "Batches answered from committed state.",
    "projection_remade": "Whether the committer found its projection torn and makes it again.",
    "receipts_missed": "Receipts whose deadline passed undecided, or whose intents were given up.",
}


@blueprint.get("/metrics")
def metrics() -> Response:
    """In the format the Accept header asks for: text, or OpenMetrics."""
    provided = services()
    if not _may_read(request.remote_addr or "", provided.settings.metrics_from):
        raise Refusal(Code.NOT_FOUND, "there is nothing at this address")
    registry = CollectorRegistry()
    if os.environ.get(tally.FOLDER):
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    else:
        registry.register(tally.HERE)
    registry.register(_Behind(provided))
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    return Response(encode(registry), content_type=content_type)


class _Behind(Collector):
    """The committer's numbers and the acquirers' availability."""

    def __init__(self, provided: Services) -> None:
        self._provided = provided

    def collect(self) -> Iterable[Metric]:
        """See Collector."""
        try:
            numbers = self._provided.courier.numbers()
        except Refusal:
            numbers = {}
        up = 1.0 if numbers else 0.0
        yield GaugeMetricFamily("clearline_committer_up", "Whether the committer answers.", up)
        for name, text in _GAUGES.items():
            if name in numbers:
                yield GaugeMetricFamily(f"clearline_{name}", text, numbers[name])
        for name, text in _COUNTERS.items():
            if name in numbers:
                yield CounterMetricFamily(f"clearline_{name}", text, numbers[name])
        state = GaugeMetricFamily(
            "clearline_acquirer_availability",
            "0 available, 1 doubtful, 2 unavailable.",
            labels=("acquirer_id",),
        )
        depth = GaugeMetricFamily(
            "clearline_acquirer_depth", "Payments waiting for it.", labels=("acquirer_id",)
        )
        backlog = GaugeMetricFamily(
            "clearline_acquirer_backlog_seconds",
            "How long one more payment would wait for it; 0 while no pace is measured.",
            labels=("acquirer_id",),
        )
        pace = GaugeMetricFamily(
            "clearline_acquirer_pace",
            "Payments it works off a second while some wait; 0 while none is measured.",
            labels=("acquirer_id",),
        )
        for name, judgement in self._provided.acquirers.all().items():
            state.add_metric((name,), float(judgement.availability))
            depth.add_metric((name,), float(judgement.depth))
            backlog.add_metric((name,), judgement.backlog.seconds)
            pace.add_metric((name,), judgement.backlog.pace)
        yield from (state, depth, backlog, pace)


@lru_cache(maxsize=256)
def _may_read(address: str, networks: tuple[str, ...]) -> bool:
    try:
        reader = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(reader in ipaddress.ip_network(network) for network in networks)
