"""The command ``export``: writes a model for other programs and compares their predictions with the model's."""

from pathlib import Path

from gpt_classifier.errors import CommandParser, InputError
from gpt_classifier.export.formats import FORMATS, export
from gpt_classifier.export.verify import build_probe_texts, read_texts
from gpt_classifier.inference.upload import push


def main(arguments: list[str]) -> None:
    parser = CommandParser(
        "gpt-classifier export",
        "gpt-classifier export MODEL --to FORMAT --output FOLDER [options]",
        "Write a trained model for other programs. The exported model classifies some texts before the command says "
        "that it is done; if it predicts otherwise than the model, nothing is left.",
    )
    add = parser.add_argument
    add("model", metavar="MODEL", nargs="?", help="model folder, run folder, .ckpt file, or adapter folder with --base")
    add(
        "--to",
        required=True,
        choices=list(FORMATS),
        help="; ".join(f"{name}: {what}" for name, what in FORMATS.items()),
    )
    add("--output", required=True, metavar="FOLDER", help="folder to write; must not exist, or be empty")
    add("--base", help="weights below an adapter folder: gpt2, a .safetensors file or a folder")
    add(
        "--texts",
        metavar="FILE",
        help="texts to compare on beside some awkward ones, one a line; for int8 on these alone",
    )
    add("--push", metavar="NAME", help="also upload the folder to the Hugging Face hub, as the private repository NAME")
    options = parser.parse_args(arguments)
    if options.model is None:
        raise InputError("which model? Name it first, as in export checkpoints/spam --to onnx --output spam-onnx")
    texts = build_probe_texts() if options.texts is None else read_texts(Path(options.texts))
    lines = export(options.model, options.to, Path(options.output), options.base, texts)
    print("\n".join(lines))
    if options.push is not None:
        print(f"uploaded to {push(Path(options.output), options.push)}")
