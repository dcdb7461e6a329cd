"""Counts what the service does, for Prometheus."""

import time
from collections.abc import Collection

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
TEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """The metrics of one service."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter("gpt_classifier_requests", "Requests.", ["path", "status"], registry=registry)
        self.seconds = Histogram(
            "gpt_classifier_request_seconds",
            "Time to respond to a request.",
            ["path"],
            buckets=SECONDS,
            registry=registry,
        )
        self.predictions = Counter(
            "gpt_classifier_answers", "Predictions, by class name.", ["label"], registry=registry
        )
        self.batch = Histogram(
            "gpt_classifier_batch_texts", "Texts in a call of the classifier.", buckets=TEXTS, registry=registry
        )
        self.waiting = Gauge("gpt_classifier_waiting_texts", "Texts without a prediction yet.", registry=registry)


class Counted:
    """Counts requests to ``paths`` with their status and time; all other paths are ``other``."""

    def __init__(self, app: ASGIApp, metrics: Metrics, paths: Collection[str]) -> None:
        self.app, self.metrics, self.paths = app, metrics, paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        path = scope["path"] if scope["path"] in self.paths else "other"
        start, status = time.perf_counter(), 500

        async def counted(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self.app(scope, receive, counted)
        finally:
            self.metrics.requests.labels(path, status).inc()
            self.metrics.seconds.labels(path).observe(time.perf_counter() - start)
