"""The command ``app``: serves one model, on a page and over HTTP, until it is told to end."""

import os

from gpt_classifier import files
from gpt_classifier.cli.model_options import add_network_options
from gpt_classifier.errors import CommandParser, InputError
from gpt_classifier.serve.access import TOKEN, check_token

DESCRIPTION = """\
Serve a model: a page to classify messages and CSV files, and an API: POST /predict {"texts": [...]}, POST /trace
{"text": "..."}, POST /table?text_column=NAME (CSV in, CSV out), GET /health, /model, /metrics. Ctrl-C or SIGTERM ends
it after the running requests. Nothing is sent or loaded from elsewhere; texts are neither kept nor logged. Other
machines reach it only with --host, and then it wants a token.
"""


def main(arguments: list[str]) -> None:
    """Runs the command until SIGINT or SIGTERM; raises ``InputError`` for what cannot be served."""
    parser = CommandParser("gpt-classifier app", "gpt-classifier app [MODEL] [options]", description=DESCRIPTION)
    add = parser.add_argument
    about = "model folder, run folder or .ckpt file (default: the built-in one)"
    add("model", metavar="MODEL", nargs="?", default=str(files.built_in_model()), help=about)
    add("--port", type=int, default=8000, help="0 takes a free one (default: 8000)")
    add("--host", default="127.0.0.1", help="address to listen at (default: 127.0.0.1, this machine only)")
    add("--token", help=f"what programs and people must know; better in the environment, as {TOKEN}")
    add("--no-token", action="store_true", help="let everyone who reaches --host use it without a token")
    add_network_options(parser)
    add("--batch", type=int, default=64, help="maximum number of texts classified in one call (default: 64)")
    add("--max-texts", type=int, default=10_000, help="maximum number of texts in one request (default: 10000)")
    add("--max-body", type=int, default=5_000_000, help="maximum number of bytes in one request (default: 5000000)")
    add("--max-waiting", type=int, default=20_000, help="maximum number of texts that wait (default: 20000)")
    add("--rate", type=float, default=50.0, help="maximum requests per second from one address (default: 50)")
    options = parser.parse_args(arguments)
    given = os.environ.get(TOKEN) or None if options.token is None else options.token
    token = check_token(options.host, given, options.no_token)
    if not 0 <= options.port < 65536:
        raise InputError(f"--port is {options.port}, expected 0 to 65535")
    options.model = str(files.named_model(options.model))
    if not os.path.exists(options.model):  # known before PyTorch is imported
        raise InputError(f"no model at {options.model!r}: expected a model folder, a run or a .ckpt file")

    try:
        from gpt_classifier.serve.api import serve
        from gpt_classifier.serve.limits import Limits
    except ImportError as error:
        if error.name not in ("starlette", "uvicorn", "prometheus_client"):
            raise
        raise InputError(f"app needs {error.name}: pip install 'gpt-classifier[app]'") from error
    o = options
    limits = Limits(batch=o.batch, texts=o.max_texts, body=o.max_body, waiting=o.max_waiting, rate=o.rate)
    serve(o.model, o.host, o.port, token, limits, device=o.device, int8=o.int8, base=o.base)
