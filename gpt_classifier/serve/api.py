"""The service: its addresses, what each takes and returns over HTTP; computes nothing itself.

Built on Starlette and uvicorn. LitServe passes every text through a queue to another process, and needs FastAPI, ZeroMQ
and OpenTelemetry: with a small model on two cores it gave half as many predictions per second, with GPT-2's 124 million
parameters about as many (docs/pages/measurements.md).
"""

import asyncio
import json
import re
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from importlib.resources import files
from typing import Any

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gpt_classifier.errors import InputError
from gpt_classifier.inference import trace_text
from gpt_classifier.inference.classifier import TextClassifier
from gpt_classifier.inference.prediction_text import fields
from gpt_classifier.inference.trace import Trace
from gpt_classifier.serve import table
from gpt_classifier.serve.about import describe_model
from gpt_classifier.serve.access import list_hosts, listen
from gpt_classifier.serve.batching import Batcher, QueueFull
from gpt_classifier.serve.connections import limited_connections
from gpt_classifier.serve.limits import Guard, Limits, read_body
from gpt_classifier.serve.metrics import Counted, Metrics
from gpt_classifier.text.normalize import replace_surrogates

PAGE = {  # the files of the page with their types
    "/": ("index.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
UNLESS_TOLD = Limits()
BRIEF, FEW = 2**16, 100  # characters and texts that are handled between other requests, without a thread of their own
SURROGATE = re.compile("[\ud800-\udfff]")  # JSON can escape half of a pair
HEADERS = {  # nothing from elsewhere, no frames, nothing kept
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def serve(
    model: str, host: str, port: int, token: str | None, limits: Limits, *, device: str, int8: bool, base: str | None
) -> None:
    """Loads the model, says where it listens, and serves until SIGINT or SIGTERM.

    Raises ``InputError`` for what cannot be served.
    """
    listening = listen(host, port)
    classifier = TextClassifier.load(model, device, int8, base)
    # uvicorn handles these signals while it runs and sends them again after its graceful end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    address = f"http://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}"
    print(f"{address} classifies with {model}: {', '.join(classifier.classes_)}; Ctrl-C ends", flush=True)
    with suppress(KeyboardInterrupt):
        server(service(classifier, limits, token, list_hosts(host, token)), limits).run([listening])


def server(app: Starlette, limits: Limits) -> uvicorn.Server:
    """The server that runs the application, on the sockets that it is given, and adds HEADERS to every response."""
    config = uvicorn.Config(
        app,
        http=limited_connections(limits),
        log_level="warning",
        access_log=False,
        server_header=False,
        headers=list(HEADERS.items()),
        proxy_headers=False,  # whoever is on this machine could take on any address
        limit_concurrency=limits.connections,
        timeout_graceful_shutdown=limits.seconds,
    )
    return uvicorn.Server(config)


def service(
    classifier: TextClassifier, limits: Limits = UNLESS_TOLD, token: str | None = None, hosts: tuple[str, ...] = ("*",)
) -> Starlette:
    """The application.

    ``token`` is asked for by all addresses but the page and /health. ``hosts`` are the names by which the service may
    be called: without a token they keep other sites' pages from reaching it under a name of their own.
    """
    metrics = Metrics()
    batcher = Batcher(classifier, limits.batch, limits.waiting, metrics.batch.observe)
    metrics.waiting.set_function(lambda: batcher.waiting)
    endpoints = Endpoints(batcher, limits, metrics)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await batcher.close()

    folder = files("gpt_classifier.serve").joinpath("page")
    routes = [
        *(
            Route(path, Response(folder.joinpath(name).read_bytes(), media_type=kind), methods=["GET"])
            for path, (name, kind) in PAGE.items()
        ),
        Route("/health", endpoints.health, methods=["GET"]),
        Route("/model", endpoints.model, methods=["GET"]),
        Route("/metrics", endpoints.metrics_text, methods=["GET"]),
        Route("/predict", endpoints.predict, methods=["POST"]),
        Route("/trace", endpoints.trace, methods=["POST"]),
        Route("/table", endpoints.table, methods=["POST"]),
        Route("/table/head", endpoints.table_head, methods=["POST"]),
    ]
    return Starlette(
        routes=routes,
        lifespan=lifespan,
        middleware=[
            Middleware(Counted, metrics=metrics, paths={route.path for route in routes}),
            Middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False),
            Middleware(Guard, open_paths={*PAGE, "/health"}, rate=limits.rate, token=token),
        ],
        exception_handlers={
            **dict.fromkeys((HTTPException, InputError, QueueFull), respond_error),
            Exception: respond_failure,
        },
    )


class Endpoints:
    """What the addresses return."""

    def __init__(self, batcher: Batcher, limits: Limits, metrics: Metrics) -> None:
        self.batcher, self.limits, self.metrics = batcher, limits, metrics
        self.classifier = batcher.classifier

    async def health(self, _: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def model(self, _: Request) -> Response:
        return JSONResponse(describe_model(self.classifier))

    async def metrics_text(self, _: Request) -> Response:
        return Response(generate_latest(self.metrics.registry), media_type=CONTENT_TYPE_LATEST)

    async def predict(self, request: Request) -> Response:
        """{"texts": [...]} -> {"predictions": [...]}, each as ``classify --json`` writes it, without the text."""
        texts = await self._field(request, "texts", '{"texts": ["a text", ...]}')
        if not isinstance(texts, list):
            raise InputError('texts is no list: expected {"texts": ["a text", ...]}')
        predictions, multi_label = await self._predictions(texts), self.classifier.decision.multi_label
        return await run_aside(
            len(texts) > FEW,
            lambda: JSONResponse({"predictions": [fields(each, None, multi_label) for each in predictions]}),
        )

    async def trace(self, request: Request) -> Response:
        """{"text": "..."} -> what ``classify --json --trace`` writes of it, with its words and sentences."""
        text = await self._field(request, "text", '{"text": "a text"}')
        self._check_text("text", text)
        return await asyncio.to_thread(build_trace_response, await self.batcher.trace(text))

    async def table(self, request: Request) -> Response:
        """CSV -> the same with predictions; ``text_column`` names the texts, ``for=spreadsheet`` disarms formulas."""
        rows = await self._table(request)
        names, safe = self.classifier.classes_.tolist(), request.query_params.get("for") == "spreadsheet"
        table.check_columns(rows, names)
        texts = await asyncio.to_thread(table.find_texts, rows, request.query_params.get("text_column"))
        predictions = await self._predictions(texts)
        multi_label = self.classifier.decision.multi_label
        content = await asyncio.to_thread(table.add_predictions, rows, predictions, names, safe, multi_label)
        return Response(content, media_type="text/csv")

    async def table_head(self, request: Request) -> Response:
        """CSV -> its columns, number of rows, and first rows, in JSON."""
        rows = await self._table(request)
        return await asyncio.to_thread(lambda: JSONResponse(table.preview(rows)))

    async def _predictions(self, texts: list[Any]) -> list[Any]:
        if len(texts) > self.limits.texts:
            raise InputError(
                f"there are {len(texts):,} texts, expected at most {self.limits.texts:,}: send them in parts"
            )
        await run_aside(sum(len(text) for text in texts if isinstance(text, str)) > BRIEF, self._check_texts, texts)
        predictions = await self.batcher.predict(texts)
        multi_label = self.classifier.decision.multi_label
        labels = Counter(label for each in predictions for label in (each.labels if multi_label else (each.label,)))
        for label, number in labels.items():
            self.metrics.predictions.labels(label).inc(number)
        return predictions

    def _check_texts(self, texts: list[Any]) -> None:
        for number, text in enumerate(texts):
            self._check_text(f"texts[{number}]", text)

    def _check_text(self, name: str, text: Any) -> None:
        if not isinstance(text, str):
            raise InputError(f"{name} is of type {type(text).__name__}, expected a text")
        if len(text) > self.limits.characters:
            raise InputError(f"{name} has {len(text):,} characters, expected at most {self.limits.characters:,}")
        if SURROGATE.search(text):
            raise InputError(f"{name} has half of a surrogate pair, which is no character")

    async def _field(self, request: Request, name: str, expected: str) -> Any:
        """The only field of a JSON object."""
        body = await self._body(request)
        try:
            content = await run_aside(len(body) > BRIEF, json.loads, body)
        except (ValueError, RecursionError) as error:
            raise InputError(f"the body is not JSON: expected {expected}") from error
        if not isinstance(content, dict) or list(content) != [name]:
            has = (
                f"has {replace_surrogates(', '.join(content)) or 'no field'}"
                if isinstance(content, dict)
                else "is no object"
            )
            raise InputError(f"the body {has[:100]}: expected {expected}")
        return content[name]

    async def _table(self, request: Request) -> Any:
        return await asyncio.to_thread(table.read_table, await self._body(request), self.limits.texts)

    async def _body(self, request: Request) -> bytes:
        try:
            async with asyncio.timeout(self.limits.seconds):
                return await read_body(request, self.limits.body)
        except TimeoutError:
            raise HTTPException(408, f"the request took more than {self.limits.seconds} s to arrive") from None


async def run_aside(long: bool, function: Callable[..., Any], *arguments: Any) -> Any:
    """What ``function`` returns; where it takes ``long``, from another thread, so that other requests go on."""
    return await asyncio.to_thread(function, *arguments) if long else function(*arguments)


def build_trace_response(trace: Trace) -> Response:
    more = {
        "answer": trace.answer,
        "final_class": trace.class_names[trace.final_class],
        "words": trace.words,
        "decided_word": None if trace.decided_at is None else trace.word_at(trace.decided_at),
        "sentences": trace_text.sentences(trace),
    }
    return JSONResponse(trace.to_dict() | more)


async def respond_error(_: Request, error: Exception) -> Response:
    """The response to a request that cannot be served: its reason, in one line."""
    if isinstance(error, HTTPException):
        return JSONResponse({"error": error.detail}, error.status_code, error.headers)
    if isinstance(error, QueueFull):
        return JSONResponse({"error": "too many texts wait: try again later"}, 503, {"Retry-After": "1"})
    return JSONResponse({"error": str(error)}, 400)


async def respond_failure(_: Request, error: Exception) -> Response:
    """A mistake of ours; the server logs where it happened."""
    return JSONResponse({"error": f"the service failed ({type(error).__name__}): its log says where"}, 500)
