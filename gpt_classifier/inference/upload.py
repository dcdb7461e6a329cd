"""Moves model folders to and from the Hugging Face hub."""

from pathlib import Path

from gpt_classifier.errors import InputError, reason


def push(folder: Path, name: str) -> str:
    """Uploads the folder to the private repository ``name`` of the Hugging Face hub; returns its address.

    The token is that of ``hf auth login`` or ``HF_TOKEN``; it is never printed.
    """
    import huggingface_hub

    api = huggingface_hub.HfApi()
    try:
        api.create_repo(name, private=True, exist_ok=True)
        api.upload_folder(repo_id=name, folder_path=folder, commit_message="A classifier of gpt_classifier")
    except Exception as error:  # the hub's client raises several unrelated kinds
        said, token = reason(error), huggingface_hub.get_token()
        said = said.replace(token, "...") if token else said
        raise InputError(f"{folder} was written, but could not be uploaded as {name} ({said})") from error
    return f"https://huggingface.co/{name}"


def fetch(name: str, revision: str | None) -> Path:
    """The folder of the repository ``name``, downloaded if it is not in the hub's cache."""
    import huggingface_hub

    try:
        return Path(huggingface_hub.snapshot_download(name, revision=revision))
    except Exception as error:  # of the hub's client, or of the network below it
        raise InputError(
            f"there is no folder {name}, and it cannot be fetched from the Hugging Face hub ({reason(error)}): "
            "expected the folder of a model, or its name on the hub, such as someone/spam"
        ) from error
