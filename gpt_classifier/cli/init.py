"""The command ``init``: inspects a file and writes a configuration for it."""

import re
import shlex
from pathlib import Path

from gpt_classifier.errors import CommandParser, InputError
from gpt_classifier.files import whole_file


def main(words: list[str]) -> None:
    """``init FILE ...``."""
    parser = CommandParser(
        "gpt-classifier init", description="Inspect a file of labelled texts and write a configuration for it."
    )
    add = parser.add_argument
    add("file", metavar="FILE", help="a .csv, .tsv, .json, .jsonl or .parquet file, or a pattern in quotes")
    add("--output", help="file to write; by default FILE's name with .yaml, in the working directory")
    add("--force", action="store_true", help="overwrite an existing file")
    add("--print", action="store_true", help="print the configuration instead of writing a file")
    add("--weights", choices=["pretrained", "random"], help="initial weights; by default pretrained, if any can be had")
    add("--text-column", help="column with the texts; by default the one with the longest texts")
    add("--label-column", help="column with the class names; by default one with few distinct values")
    options = parser.parse_args(words)
    output = Path(options.output or re.sub(r"[*?\[\]]+", "", Path(options.file).name).split(".")[0] + ".yaml")
    if not options.print and not options.force and output.exists():
        raise InputError(f"{output} exists: name another file with --output, or replace it with --force")

    from gpt_classifier.audit.config_writer import build_configuration, inspect_file, summarize
    from gpt_classifier.audit.networks import has_gpu

    statistics = inspect_file(options.file, options.weights, options.text_column, options.label_column)
    content = build_configuration(statistics, output.stem)
    if options.print:
        print(content, end="")
        return
    with whole_file(output) as path:
        path.write_text(content, encoding="utf-8")
    print("\n".join([*summarize(statistics), f"configuration: {output}"]))
    command = f"gpt-classifier fit --config {shlex.quote(str(output))}"
    print(f"next: {command}")
    if statistics.network is not None:
        policy = "all" if has_gpu() else "lora"
        print(f"then, to fine-tune from the probe: {command} --model.trainable {policy}")
