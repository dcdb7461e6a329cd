"""The help of ``fit``, ``pretrain``, ``test`` and ``predict`` on one screen: the settings of daily use."""

from typing import NamedTuple


class Help(NamedTuple):
    """What a command does, how it is called, and its options with their explanations."""

    usage: str
    about: str
    options: dict[str, str]


DATA = {
    "--data.source FILE": "labelled texts: .csv, .tsv, .jsonl, .json, .parquet, or sms_spam, imdb, sample",
    "--data.text_column NAME": "column with the texts (default: text)",
    "--data.label_column NAME": "column with the class names (default: label)",
}
RUN = {
    "--trainer.accelerator NAME": "cpu, gpu, mps or auto (default: auto)",
    "--trainer.devices N": "number of GPUs (default: all)",
    "--trainer.precision NAME": "32-true, bf16-mixed, 16-mixed, ... (default: 32-true)",
}
TRAINED = "MODEL is a model folder, a run, a folder of runs or a .ckpt file (default: the newest run of --config)."
HELPS = {
    "fit": Help(
        "fit [MODEL] --config CONFIG [--SECTION.SETTING VALUE ...]",
        "Train a model. Initial weights are those of CONFIG, or of MODEL, a trained one. The folder of the run gets\n"
        "checkpoints, TensorBoard logs and the model folder.",
        {
            "--config CONFIG": "YAML file or name of a built-in configuration, such as spam, encoder, scratch",
            **DATA,
            "--data.multi_label SIGN": "separator of the labels of a text, such as |, where it may have several",
            "--data.max_length N": "maximum number of tokens per text",
            "--data.batch_size N": "texts in a training batch on each device",
            "--data.balance NAME": "none, undersample or class_weights (default: none)",
            "--model.backbone NAME": "a published network: name on the Hugging Face hub, or a folder",
            "--model.weights NAME": "pretrained, random, or a trained model",
            "--model.trainable NAME": "head, last_block, lora, all, or a number of blocks",
            "--model.learning_rate X": "peak learning rate of AdamW",
            "--model.pooling NAME": "mean, last_token, first_token or last_position",
            "--trainer.max_epochs N": "number of epochs",
            **RUN,
            "--trainer.default_root_dir DIR": "folder of the runs",
            "--ckpt_path last": "continue the newest run",
            "--seed_everything N": "seed of all that is random",
            "--print_config": "print the whole configuration instead of training",
        },
    ),
    "pretrain": Help(
        "pretrain --config CONFIG --data.source FILE [--SECTION.SETTING VALUE ...]",
        "Train a GPT to predict the next token of texts without labels; `fit RUN` starts from its weights.",
        {
            "--config CONFIG": "YAML file or name of a built-in configuration, such as pretrain",
            "--data.source FILE": "texts: .txt, .csv, .tsv, .jsonl, .json, .parquet",
            "--data.text_column NAME": "column with the texts (default: text)",
            "--data.tokenizer NAME": "gpt2, bytes, or {train: 4096}",
            "--model.learning_rate X": "peak learning rate of AdamW",
            "--trainer.max_epochs N": "number of epochs",
            **RUN,
            "--trainer.default_root_dir DIR": "folder of the runs",
            "--ckpt_path last": "continue the newest run",
            "--seed_everything N": "seed of all that is random",
        },
    ),
    "test": Help(
        "test [MODEL] [--on val] [--SECTION.SETTING VALUE ...]",
        f"Score a trained model on its test rows, beside baselines that are trained on the same rows.\n{TRAINED}",
        {
            "--config CONFIG": "configuration of the runs, where no MODEL is given",
            "--on SPLIT": "test or val (default: test)",
            "--data.test_source FILE": "other labelled texts to score on",
            "--baselines WHICH": "all, none, or a maximum of seconds for each",
            "--report WHICH": "all or none: report.html and report.md",
            **RUN,
        },
    ),
    "predict": Help(
        "predict [MODEL] --data.source FILE [--SECTION.SETTING VALUE ...]",
        f"Classify the rows of a file, in order, files of any size.\n{TRAINED}",
        {
            "--data.source FILE": "texts: .csv, .tsv, .jsonl, .json, .parquet, or a pattern such as 'data/*.csv'",
            "--data.text_column NAME": "column with the texts",
            "--output FILE": "file to write: .csv, .jsonl or .parquet (default: in the folder of the run)",
            "--keep NAME ...": "columns of the source to copy",
            "--ray N": "number of processes of a Ray cluster",
            **RUN,
        },
    ),
}


def short_help(command: str) -> str:
    """The text of ``COMMAND --help``, at most 40 lines."""
    usage, about, options = HELPS[command]
    lines = (f"  {option:32} {what}\n" for option, what in options.items())
    return (
        f"usage: gpt-classifier {usage}\n\n{about}\n\n{''.join(lines)}\n"
        f"gpt-classifier {command} --help all explains every setting, --help trainer those of Lightning's Trainer.\n"
    )
