"""The command ``app``: serves one model, on a page and over HTTP, until it is told to end."""

import os
import signal
import socket
import sys
from ipaddress import ip_address

from gpt_classifier import files
from gpt_classifier.errors import CommandParser, InputError

TOKEN = "GPT_CLASSIFIER_TOKEN"
HERE = ("localhost", "127.0.0.1", "[::1]")

DESCRIPTION = """\
Serve a model: a page to classify messages and CSV files, and an API: POST /predict {"texts": [...]}, POST /trace
{"text": "..."}, POST /table?text_column=NAME (CSV in, CSV out), GET /health, /model, /metrics. Ctrl-C or SIGTERM ends
it after the running requests. Nothing is sent or loaded from elsewhere; texts are neither kept nor logged. Other
machines reach it only with --host, and then it wants a token.
"""


def main(arguments: list[str]) -> None:
    """Runs the command until SIGINT or SIGTERM; raises ``InputError`` for what cannot be served."""
    parser = CommandParser("gpt-classifier app", "gpt-classifier app [--model PATH] [options]", description=DESCRIPTION)
    add = parser.add_argument
    about = "model folder, run folder or .ckpt file (default: the model that comes with the package)"
    add("--model", default=str(files.built_in_model()), help=about)
    add("--port", type=int, default=8000, help="0 takes a free one (default: 8000)")
    add("--host", default="127.0.0.1", help="address to listen at (default: 127.0.0.1, this machine only)")
    add("--token", help=f"what programs and people must know; better in the environment, as {TOKEN}")
    add("--no-token", action="store_true", help="let everyone who reaches --host use it without a token")
    add("--device", default="auto", choices=["auto", "cpu", "cuda", "mps"], help="auto is CUDA, MPS or else the CPU")
    add("--int8", action="store_true", help="quantize the network, for speed on CPUs with VNNI")
    add("--base", help="weights below an adapter folder: gpt2, or a .safetensors file")
    add("--batch", type=int, default=64, help="maximum number of texts classified in one call (default: 64)")
    add("--max-texts", type=int, default=10_000, help="maximum number of texts in one request (default: 10000)")
    add("--max-body", type=int, default=5_000_000, help="maximum number of bytes in one request (default: 5000000)")
    add("--max-waiting", type=int, default=20_000, help="maximum number of texts that wait (default: 20000)")
    add("--rate", type=float, default=50.0, help="maximum requests per second from one address (default: 50)")
    options = parser.parse_args(arguments)
    given = os.environ.get(TOKEN) or None if options.token is None else options.token
    token = checked_token(options.host, given, options.no_token)
    if not 0 <= options.port < 65536:
        raise InputError(f"--port is {options.port}, expected 0 to 65535")
    if not os.path.exists(options.model):  # known before PyTorch is imported
        raise InputError(f"no model at {options.model!r}: expected a model folder, a run or a .ckpt file")

    try:
        from gpt_classifier.serve.api import server, service
        from gpt_classifier.serve.limits import Limits
    except ImportError as error:
        if error.name not in ("starlette", "uvicorn", "prometheus_client"):
            raise
        raise InputError(f"app needs {error.name}: pip install 'gpt-classifier[app]'") from error
    from gpt_classifier.inference.classifier import TextClassifier

    limits = Limits(
        batch=options.batch,
        texts=options.max_texts,
        body=options.max_body,
        waiting=options.max_waiting,
        rate=options.rate,
    )
    listening = listen(options.host, options.port)
    classifier = TextClassifier.load(options.model, options.device, options.int8, options.base)
    hosts = (*HERE, options.host) if token is None and is_local(options.host) else ("*",)
    # uvicorn handles these signals while it runs and sends them again after its graceful end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    host = f"[{options.host}]" if ":" in options.host else options.host
    address = f"http://{host}:{listening.getsockname()[1]}"
    print(f"{address} classifies with {options.model}: {', '.join(classifier.classes_)}; Ctrl-C ends", flush=True)
    try:
        server(service(classifier, limits, token, hosts), limits).run([listening])
    except KeyboardInterrupt:
        return


def checked_token(host: str, token: str | None, without: bool) -> str | None:
    """The token to ask for. Raises ``InputError`` for a service that others reach and nobody protects."""
    if token is not None and (without or not token or not token.isascii() or not token.isprintable() or " " in token):
        wrong = "--no-token contradicts it" if without else "expected ASCII characters without spaces"
        raise InputError(f"a token is given, but {wrong}")
    if token is None and not without and not is_local(host):
        raise InputError(
            f"--host {host} lets other machines in: set {TOKEN} to a secret, or say --no-token if everyone may use it"
        )
    return token


def is_local(host: str) -> bool:
    """Whether only this machine reaches it."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:  # a name
        return False


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises ``InputError`` where that cannot be."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.create_server((host, port), family=family)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or "no name of a machine"
        raise InputError(f"cannot listen at {host}, port {port} ({why}): choose another --port or --host") from error
    # Connections inherit it. Without it an answer's body waits for the client to acknowledge the header, often 40 ms.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening
