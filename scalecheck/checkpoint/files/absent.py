"""A path at which there is nothing: the error, with what was perhaps meant by it, such as a model
of the Hub, an address, or a name that is spelled almost so."""

import os
import re
from itertools import islice
from pathlib import Path
from shlex import quote

from scalecheck.checkpoint.files.foreign import tensorflow_checkpoint
from scalecheck.errors import CheckpointError, Fix, close_to

_MAX_NAMES = 10_000  # of a folder in which a name is sought
_ADDRESS = re.compile(r"(https?|hf|s3|gs|az|file):/+(.+)")  # a Path has one slash of two
_HUB = re.compile(r"[\w.-]+/[\w.-]+")
# Models that have no owner in their name on the Hub.
_OLD = re.compile(
    r"(?:gpt2|openai-gpt|distilgpt2|bert|distilbert|roberta|distilroberta|albert|xlnet|t5|facebook"
    r"|google|ctrl|xlm)(?:-[\w.-]+)?"
)
_OF_HUB = re.compile(
    r"(?:https?:huggingface\.co/|hf:)(?:models/)?(?P<model>[\w.-]+(?:/(?!(?:blob|resolve|tree|raw)/)[\w.-]+)?)(?:@[\w.-]+)?"
    r"(?:/(?:(?:blob|resolve|tree|raw)/[\w.-]+/?)?(?P<file>[^?]*))?(?:\?.*)?"
)
_COPY = {"s3": "aws s3 cp", "gs": "gcloud storage cp", "http": "curl -LO", "https": "curl -LO"}


def missing(path: Path, problem: str) -> CheckpointError:
    """The error of a path at which there is nothing. problem: in the words of the system."""
    words = str(path)
    if error := tensorflow_checkpoint(path):
        return error
    if words == "-":
        return CheckpointError(path, "standard input is not read", "save it to a file first")
    if match := _ADDRESS.fullmatch(words):
        return _remote(path, match[1], match[2])
    if near := _near(path):
        return CheckpointError(path, problem, "did you mean", Fix(near, words))
    is_model = _HUB.fullmatch(words) and not path.parent.exists()
    if (is_model and not words.startswith(".")) or _OLD.fullmatch(words):
        return _of_hub(path, words, words, "")
    return CheckpointError(path, problem)


def _remote(path: Path, scheme: str, rest: str) -> CheckpointError:
    """The error of an address."""
    address = f"{scheme}://{rest}"
    if found := _OF_HUB.fullmatch(f"{scheme}:{rest}"):
        return _of_hub(path, address, found["model"], found["file"] or "")
    problem = "is an address; only local files are read"
    copy, name = _COPY.get(scheme), rest.partition("?")[0].rpartition("/")[2]
    if scheme == "file":
        return CheckpointError(address, problem, "", Fix(f"/{rest}", str(path)))
    if copy is None or not name:
        return CheckpointError(address, problem, "download it first")
    here = "" if copy.startswith("curl") else " ."
    fix = Fix(name, str(path), before=f"{copy} {quote(address)}{here}")
    return CheckpointError(address, problem, "download it first", fix)


def _of_hub(path: Path, place: str, model: str, file: str) -> CheckpointError:
    """The error of a model of the Hub, or of a file of one."""
    folder = model.rpartition("/")[2]
    what = f" {quote(file)}" if file else ""
    before = f"hf download {model}{what} --local-dir {folder}"
    fix = Fix(f"{folder}/{file}".rstrip("/"), str(path), before=before)
    problem = "no such file or folder here, and the Hub is not read"
    return CheckpointError(place, problem, "if it is a model of the Hub", fix)


def _near(path: Path) -> str:
    """The path of an entry of the folder that is spelled almost so; empty where there is none."""
    try:
        with os.scandir(path.parent) as entries:
            names = [entry.name for entry in islice(entries, _MAX_NAMES)]
    except OSError:
        return ""
    near = close_to(path.name, names, 0.8)
    # step-500 is not meant by step-600
    is_meant = bool(near) and re.findall(r"\d+", near) == re.findall(r"\d+", path.name)
    return str(path.with_name(near)) if is_meant else ""
