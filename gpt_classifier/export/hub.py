"""Uploads an exported folder to the Hugging Face hub."""

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
