"""What a worker counts about its requests, for /metrics."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram

FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"  # read by prometheus_client when it is imported
HERE: Final = CollectorRegistry()
_REQUESTS: Final = Counter(
    "clearline_http_requests", "Requests answered.", ("endpoint", "status"), registry=HERE
)
_SECONDS: Final = Histogram(
    "clearline_http_request_seconds",
    "From a request's last header to its answer; posts wait for the commit.",
    ("endpoint",),
    registry=HERE,
    buckets=(0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0),
)
_REFUSALS: Final = Counter(
    "clearline_refusals", "Refusals of whole requests.", ("code",), registry=HERE
)
DROPPED: Final = Counter(
    "clearline_connections_dropped", "Connections closed to make room for others.", registry=HERE
)


def count(endpoint: str, status: int, seconds: float, code: str | None) -> None:
    """Note an answer."""
    requests, histogram = _children(endpoint, status)
    requests.inc()
    histogram.observe(seconds)
    if code is not None:
        _REFUSALS.labels(code).inc()


@lru_cache(maxsize=512)
def _children(endpoint: str, status: int) -> tuple[Counter, Histogram]:
    return _REQUESTS.labels(endpoint, str(status)), _SECONDS.labels(endpoint)
