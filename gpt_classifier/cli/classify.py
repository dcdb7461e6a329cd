"""The command ``classify``: classifies texts, or the lines of standard input as they come."""

from gpt_classifier.cli.model_options import add_network_options, model_and_texts
from gpt_classifier.cli.standard_input import decoded, waiting_lines
from gpt_classifier.errors import CommandParser, InputError

DESCRIPTION = """\
Classify the given texts, or the lines of standard input, each as it comes. A line of the output is the prediction, its
probability and the text, separated by tabs; tabs and line breaks inside a text are written as \\t and \\n.
A multi-label model writes the labels of a text in place of the class, and their probabilities, with | between them.
Input and output are UTF-8; what cannot be decoded counts as U+FFFD.
"""
TEXTS = (
    "texts, behind the model (model folder, run folder or .ckpt file); without texts, lines of standard input; without "
    "a model the built-in one classifies, which tells spam from other short messages in English"
)
TRACE = (
    "also show how the prediction comes about: the text in colours (on a terminal, unless NO_COLOR is set) or a table "
    "of its words, and the word after which the prediction does not change; for GPTs and other decoders that classify "
    "from the last token or the mean"
)


def main(arguments: list[str]) -> None:
    usage = "gpt-classifier classify [MODEL] [options] [text ...]"
    parser = CommandParser("gpt-classifier classify", usage, description=DESCRIPTION)
    add = parser.add_argument
    about = "write a JSON object for each text: text, label (or labels), probability, probabilities"
    add("--json", action="store_true", help=about)
    add(
        "--top-k",
        type=int,
        metavar="K",
        help="write the K most probable classes (default: the prediction; all in JSON)",
    )
    add("--trace", action="store_true", help=TRACE)
    add_network_options(parser)
    add("texts", nargs="*", metavar="text", help=TEXTS)
    end = arguments.index("--") if "--" in arguments else len(arguments)  # what follows it are texts, like "-5"
    options = parser.parse_intermixed_args(arguments[:end])
    if options.top_k is not None and options.top_k < 1:
        raise InputError(f"--top-k is {options.top_k}, expected at least 1")
    model, texts = model_and_texts([*options.texts, *arguments[end + 1 :]])
    from gpt_classifier.inference.classifier import TextClassifier
    from gpt_classifier.reporting.predictions import print_predictions

    classifier = TextClassifier.load(model, options.device, options.int8, options.base)
    lists = [list(map(decoded, texts))] if texts else waiting_lines()
    print_predictions(classifier, lists, options.json, options.top_k, options.trace)
