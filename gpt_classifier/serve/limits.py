"""Who may ask how much: sizes, rates, the token, and pages of other origins."""

import hmac
import math
import time
from collections.abc import Collection
from dataclasses import dataclass, fields

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from gpt_classifier.errors import InputError

MANY_CLIENTS = 10_000  # whose last requests are remembered before old ones are forgotten


@dataclass(frozen=True)
class Limits:
    """How much the service takes at a time.

    Args:
        batch: Maximum number of texts that are classified in one call.
        texts: Maximum number of texts of a request, or of rows of its table.
        characters: Maximum number of characters of a text.
        body: Maximum number of bytes of a request.
        waiting: Maximum number of texts that wait for a prediction, of all requests; beyond, the response is 503.
        rate: Maximum number of requests per second from one address; beyond, the response is 429.
        connections: Maximum number of open connections; beyond, the response is 503. Where more than half of them are
            without a whole request, the one that has waited longest is closed.
        seconds: Maximum time for the headers of a request to arrive, for the rest of it, and for running ones to end
            when the service does.
    """

    batch: int = 64
    texts: int = 10_000
    characters: int = 100_000
    body: int = 5_000_000
    waiting: int = 20_000
    rate: float = 50.0
    connections: int = 256
    seconds: int = 30

    def __post_init__(self) -> None:
        for field in fields(self):
            if not 0 < (value := getattr(self, field.name)) < math.inf:
                raise InputError(f"{field.name} is {value}, expected a number above 0")
        if self.waiting < self.texts:
            raise InputError(f"waiting is {self.waiting}, less than the {self.texts} texts that one request may have")


class Rate:
    """Requests per second of each client; those of one second may come at once."""

    def __init__(self, per_second: float) -> None:
        self.interval = 1 / per_second
        self.burst = max(1.0, self.interval)  # seconds
        self._paid: dict[str, float] = {}  # when a client's requests would have ended, one an interval

    def wait(self, client: str, now: float) -> float:
        """Seconds until a client may ask again; 0, and its request counts, if it may now."""
        if len(self._paid) > MANY_CLIENTS:
            self._paid = {name: paid for name, paid in self._paid.items() if paid > now}
        paid = max(self._paid.get(client, now), now) + self.interval
        if (over := paid - now - self.burst) > 1e-9:
            return over
        self._paid[client] = paid
        return 0.0


class Guard:
    """Lets pass, of what is not ``open`` to everyone, what comes seldom enough and has the token."""

    def __init__(self, app: ASGIApp, open_paths: Collection[str], rate: float, token: str | None) -> None:
        self.app, self.open_paths, self.rate = app, open_paths, Rate(rate)
        self.authorization = None if token is None else f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in self.open_paths:
            try:
                self._check(Headers(scope=scope), scope["client"][0] if scope["client"] else "")
            except HTTPException as error:
                response = JSONResponse({"error": error.detail}, error.status_code, error.headers)
                return await response(scope, receive, send)
        await self.app(scope, receive, send)

    def _check(self, headers: Headers, client: str) -> None:
        """Raises ``HTTPException``. The rate comes first, so that nobody tries many tokens."""
        if wait := self.rate.wait(client, time.monotonic()):
            after = {"Retry-After": str(math.ceil(wait))}
            raise HTTPException(429, f"too many requests: at most {1 / self.rate.interval:g} per second", after)
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            raise HTTPException(403, "this request comes from a page of another site: open the service's own page")
        if self.authorization is not None:
            given = headers.get("authorization", "").encode("latin-1")
            if not hmac.compare_digest(given, self.authorization):
                said = "the token is missing or wrong: send the header Authorization: Bearer ..."
                raise HTTPException(401, said, {"WWW-Authenticate": "Bearer"})


async def read_body(request: Request, limit: int) -> bytes:
    """The body of a request. Raises ``HTTPException`` as soon as it is known to have more than ``limit`` bytes."""
    body, length = bytearray(), request.headers.get("content-length", "")
    too_long = length.isdecimal() and int(length) > limit
    if not too_long:
        async for piece in request.stream():
            body += piece
            if too_long := len(body) > limit:
                break
    if too_long:
        said = f"the request has more than {limit:,} bytes: send it in parts"
        raise HTTPException(413, said, {"Connection": "close"})
    return bytes(body)
