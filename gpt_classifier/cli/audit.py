"""The command ``audit``: prints whether labelled texts can be trusted, before anything is trained on them."""

import json
from dataclasses import asdict

from gpt_classifier.errors import CommandParser


def main(words: list[str]) -> None:
    """``audit [FILE] [--config FILE] [--data.SETTING VALUE ...]``; exits with 1 for warnings with ``--strict``."""
    parser = CommandParser(
        "gpt-classifier audit",
        "gpt-classifier audit [FILE] [--config CONFIG] [--data.SETTING VALUE ...] [--json] [--strict]",
        description="Report whether labelled texts can be trusted, before anything is trained on them: lost rows, "
        "wrong encodings, conflicting labels, near-duplicates across splits, small classes, truncated texts, scripts, "
        "and words that give a class away. FILE, --config and the settings of data are those of fit.",
        allow_abbrev=False,
    )
    parser.add_argument("--json", action="store_true", help="write one JSON object with all statistics and findings")
    parser.add_argument("--strict", action="store_true", help="exit with 1 if there is a warning")
    options, others = parser.parse_known_args(words)

    from gpt_classifier.audit.columns import find_options
    from gpt_classifier.audit.inspection import inspect
    from gpt_classifier.audit.printing import print_audit
    from gpt_classifier.training.build_run import DataCLI

    command = DataCLI([*find_options(others), *others])
    command.datamodule.prepare_data()
    audit = inspect(command.datamodule, command.context)
    if options.json:
        print(json.dumps(asdict(audit), ensure_ascii=False))
    else:
        print_audit(audit)
    if options.strict and audit.warnings():
        raise SystemExit(1)
