"""The names of files that hold weights: which of a folder's are the model, which its variants, and
which the parts of several ranks. No file is opened."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from scalecheck.errors import CheckpointError, Fix, UsageError
from scalecheck.report.formatting import listed

# The files that a library looks for, of which it loads the first one that is there.
_TRANSFORMERS = (
    *("model.safetensors", "model.safetensors.index.json"),
    *("pytorch_model.bin", "pytorch_model.bin.index.json"),
)
_DIFFUSERS = (
    *("diffusion_pytorch_model.safetensors.index.json", "diffusion_pytorch_model.safetensors"),
    *("diffusion_pytorch_model.bin", "diffusion_pytorch_model.bin.index.json"),
)
_PEFT = ("adapter_model.safetensors", "adapter_model.bin")
_IS_ADAPTER = "adapter_config.json"
_DISTRIBUTED = re.compile(r"shard-\d{5}-model-\d{5}-of-\d{5}\.safetensors")

SUFFIXES = frozenset(
    (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".tar", ".pkl", ".msgpack", ".npz")
)

# What trainers write beside a model, by the name they give it.
_BESIDE = re.compile(
    r"(?:optimizer|scheduler|scaler|sampler|training_args|rng_state|random_states)(?:[_.-].*)?"
    r"|.*optim_states\..*"
)
# Safetensors go before the pickles that many directories hold beside them.
_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".pth.tar", ".msgpack", ".npz")
_JOINED = (".safetensors", ".bin")  # formats in which libraries part one model into files
_SUFFIX = re.compile(r"(.+?)(\.safetensors|\.bin|\.pt|\.pth\.tar|\.pth|\.ckpt|\.msgpack|\.npz)")
_INDEX = re.compile(r"(.+)(\.safetensors|\.bin)\.index(?:\.([^.]+))?\.json")
_SHARD = re.compile(r"(.+)-(\d{1,6})-of-(\d{1,6})((?:\.[^.]+)?)")  # as libraries number shards
_MOST_SHARDS = 10_000  # of which the missing ones are sought
_SLICE = re.compile(
    r"((?:.*[_.-])?(?:[mt]p_rank_|tp_?|consolidated\.)|layer_\d{1,6}-model_|shard-(?=.+-of-))"
    r"(\d{1,6})((?:[_-].*)?)"
)
_RANK = re.compile(r"((?:.*[_.-])?rank_?)(\d{1,6})((?:[_.-].*)?)")
_FSDP = re.compile(r"pytorch_model_fsdp(_\d{1,6})?_rank\d{1,6}\.bin")
_OPTIMIZER_RANK = re.compile(r"optimizer(_\d{1,6})?_rank(\d{1,6})\.bin")
_OTHER_FORMATS = re.compile(r".+\.(?:onnx|gguf|h5|keras|nemo|ot|tflite|mlmodel|pdparams)")
_ALONE = (".gguf", ".onnx", ".keras", ".nemo", ".weights.h5", ".h5", ".hdf5")  # each by itself
# Most .npz hold data; those of weights are called so.
_DATA = re.compile(
    r"(?!(?:.*[_.-])?(?:model|weights?|params?|parameters|checkpoint|ckpt|train_?state|state"
    r"|adapters?)(?:[_.-].*)?\.npz).*\.npz",
    re.IGNORECASE,
)
# Words that say of which precision or average a file is, after a dot, or a dash beside the plain
# file. Any other word after a dot says it beside the plain file alone.
_WORD = r"(?:fp|bf|f|float|bfloat|int)\d{1,2}\w*|\d{1,2}bit|(?:non?[_-]?)?ema(?:[_-]?only)?|pruned"
_VARIANT = re.compile(rf"(.+?)([._-])({_WORD})")


@dataclass(frozen=True)
class WeightFile:
    """A file by its name, NAME.VARIANT-00001-of-00002SUFFIX. shard: its number and how many there
    are, None of a whole file."""

    file: str
    name: str
    suffix: str
    variant: str = ""
    shard: tuple[int, int] | None = None
    is_index: bool = False


@dataclass(frozen=True)
class Choice:
    """files: those of the model. variant: which one it is, empty for the plain model. are_ranks:
    each file is one rank's, and the names of its tensors are those of the others. unread: files
    that a library loads with it or in its place, each with how."""

    files: tuple[str, ...]
    variant: str = ""
    are_ranks: bool = False
    unread: tuple[tuple[str, str], ...] = ()


def is_weights(file: str) -> bool:
    """Whether a file of this name holds weights, and not what a trainer keeps beside them."""
    is_beside = _BESIDE.fullmatch(file) or _DATA.fullmatch(file)
    return _parsed(file) is not None and not is_beside


def chosen(path: Path, files: Iterable[str]) -> Choice | None:
    """The model among the files of a folder, None where there is none: what transformers, diffusers
    or PEFT would load of it. Where none of them finds a file of a name that it looks for: the plain
    file before its variants, safetensors before pickles.

    Raises CheckpointError where several files could be it, UsageError where several variants could.
    """
    files = sorted(files)
    if choice := _of_libraries(files):
        return choice
    weights = _with_variants([one for f in files if is_weights(f) and (one := _parsed(f))])
    pool = [one for one in weights if not one.variant] or weights
    own: list[WeightFile] = []
    for suffix in _SUFFIXES:
        if own := [one for one in pool if one.suffix == suffix]:
            break
    if not own:
        return _of_other_formats(path, files)
    if len(variants := sorted({one.variant for one in own})) > 1:
        some = [next(one.file for one in own if one.variant == word) for word in variants]
        problem = f"holds {len(some)} variants of a model and no plain one: {listed(some)}"
        fix = Fix(str(path / some[0]), str(path))
        raise UsageError(f"{path}: {problem}", "one of them", fix)
    model = _model(path, own)
    are_ranks = len(model) > 1 and _are_ranks(model)
    found = tuple(one.file for one in model)
    return Choice(found, variants[0], are_ranks, (*_distributed(files, found),))


def _of_other_formats(path: Path, files: Sequence[str]) -> Choice | None:
    """The file of a folder without one of the usual formats, or the parts of one; None where there
    is none. Raises CheckpointError where there are several."""
    found = next((f for end in _ALONE if (f := [one for one in files if one.endswith(end)])), [])
    shards = [_SHARD.fullmatch(file.rpartition(".")[0]) for file in found]
    parts = {(one[1], int(one[3])) for one in shards if one}
    if len(parts) == 1 and all(shards):
        [(_, total)] = parts
        if len(found) < total:
            raise CheckpointError(path, f"{total - len(found)} of {total} shards missing")
        return Choice((*found,))
    if len(found) > 1:
        raise _several(path, found)
    return Choice((found[0],)) if found else None


def _of_libraries(files: Sequence[str]) -> Choice | None:
    """The file of the model by the names that libraries look for, None where none is there. An
    adapter is the model where its configuration is there and that of a model is not."""
    there = frozenset(files)
    first, second, adapter = (
        next((name for name in names if name in there), None)
        for names in (_TRANSFORMERS, _DIFFUSERS, _PEFT)
    )
    if _IS_ADAPTER not in there:
        adapter = None
    is_alone = adapter is not None and "config.json" not in there
    model = None if is_alone else first or second
    if not (read := model or adapter):
        return None
    unread = []
    if model and first and second:
        unread.append((second, f"diffusers loads it, and transformers {first}"))
    if model and adapter:
        unread.append((adapter, f"transformers loads it with {model}, as {_IS_ADAPTER} is there"))
    if not is_alone:
        unread += _distributed(files, (read,))
    return Choice((read,), unread=(*unread,))


def _distributed(files: Sequence[str], read: Sequence[str]) -> list[tuple[str, str]]:
    """The files besides those that are read that transformers loads where one is named as it names
    the shards of a distributed model: all safetensors files."""
    shard = next((file for file in files if _DISTRIBUTED.fullmatch(file)), None)
    if shard is None:
        return []
    how = f"transformers loads it as a part of the model, as {shard} is there"
    return [(file, how) for file in files if file.endswith(".safetensors") and file not in read]


def slice_of(name: str) -> tuple[str, int] | None:
    """What the slices of a model are called, and the number of this one; None where the name does
    not say that it is one of a tensor-parallel rank."""
    return _numbered(_SLICE, name)


def rank_of(name: str) -> tuple[str, int] | None:
    """The same of the file of any rank."""
    return _numbered(_SLICE, name) or _numbered(_RANK, name)


def optimizer_ranks(model: Sequence[str], files: Iterable[str]) -> dict[int, str]:
    """The files of ranks with the state of the optimizer of a model that lies in files of ranks, as
    accelerate names both: a second model and its optimizer have the number 1."""
    own = _FSDP.fullmatch(model[0])
    found = [match for file in sorted(files) if (match := _OPTIMIZER_RANK.fullmatch(file))]
    number = (own[1] or "_0") if own else "_0"
    return {int(one[2]): one[0] for one in found if (one[1] or "_0") == number and own}


def is_other_format(file: str) -> bool:
    """Whether a file of this name holds weights in a format that is not read."""
    return bool(_OTHER_FORMATS.fullmatch(file))


def without_shards(files: Sequence[str]) -> list[str]:
    """The files, without the shards whose index is among them."""
    parsed = _with_variants([one for file in files if (one := _parsed(file))])
    of_index = {(one.name, one.suffix, one.variant) for one in parsed if one.is_index}
    shards = {one.file for one in parsed if one.shard}
    listed = {o.file for o in parsed if (o.name, o.suffix, o.variant) in of_index} & shards
    return [file for file in files if file not in listed]


def are_shards(files: Iterable[str]) -> bool:
    """Whether each is one of the numbered files of a model."""
    return all((one := _parsed(file)) and one.shard for file in files)


def missing_shards(files: Iterable[str]) -> tuple[int, int, int] | None:
    """How many shards are missing, of how many, and the number of the first, by the names of those
    that are there; None where all are, or where they have no numbers."""
    shards = [one.shard for file in files if (one := _parsed(file)) and one.shard]
    if not shards:
        return None
    total = shards[0][1]
    missing = sorted(set(range(1, min(total, _MOST_SHARDS) + 1)) - {number for number, _ in shards})
    return (len(missing), total, missing[0]) if missing else None


def _parsed(file: str) -> WeightFile | None:
    if match := _INDEX.fullmatch(file):
        return WeightFile(file, match[1], match[2], match[3] or "", is_index=True)
    if not (match := _SUFFIX.fullmatch(file)):
        return None
    if shard := _SHARD.fullmatch(match[1]):
        numbers = int(shard[2]), int(shard[3])
        return WeightFile(file, shard[1] + shard[4], match[2], shard=numbers)
    return WeightFile(file, match[1], match[2])


def _with_variants(weights: Sequence[WeightFile]) -> list[WeightFile]:
    """The files with the words of the variant parted from the name."""
    names = {one.name for one in weights}
    found = []
    for one in weights:
        name, words = one.name, [one.variant] if one.variant else []
        while parted := _parted(name, names):
            name = parted[0]
            words.insert(0, parted[1])
        found.append(replace(one, name=name, variant=".".join(words)))
    return found


def _parted(name: str, names: set[str]) -> tuple[str, str] | None:
    if (match := _VARIANT.fullmatch(name)) and (match[2] == "." or match[1] in names):
        return match[1], match[3]
    plain, dot, word = name.rpartition(".")
    return (plain, word) if dot and plain in names else None


def _model(path: Path, own: Sequence[WeightFile]) -> list[WeightFile]:
    """The files that are the model among those of one suffix and variant. Raises
    CheckpointError."""
    whole = {one.name for one in own if not one.shard and not one.is_index}
    # the shards of what is there as a whole, and their index, are another copy
    own = [one for one in own if one.name not in whole or not (one.shard or one.is_index)]
    suffix = own[0].suffix
    if index := [one for one in own if one.is_index]:
        return _only(path, index)
    if suffix in _JOINED and (first := _first_of_ranks(own)):
        return first
    if suffix in _JOINED:
        return [one for one in own if one.name.startswith("pytorch_model")] or own
    return own if _are_ranks(own) else _only(path, own)


def _first_of_ranks(own: Sequence[WeightFile]) -> list[WeightFile]:
    """The files of the first model where several lie in files of ranks, as accelerate names them;
    none where there are other files."""
    numbers = [match[1] or "_0" for one in own if (match := _FSDP.fullmatch(one.file))]
    if len(numbers) < len(own):
        return []
    first = min(numbers, key=lambda number: int(number[1:]))
    return [one for one, number in zip(own, numbers, strict=True) if number == first]


def _only(path: Path, found: list[WeightFile]) -> list[WeightFile]:
    if len(found) > 1:
        raise _several(path, [one.file for one in found])
    return found


def _several(path: Path, files: Sequence[str]) -> CheckpointError:
    """The error of a folder whose files are several models."""
    problem = f"holds {len(files)} checkpoints: {listed(files)}"
    return CheckpointError(path, problem, "one of them", Fix(str(path / files[0]), str(path)))


def _are_ranks(found: Sequence[WeightFile]) -> bool:
    ranks = [rank_of(one.file) for one in found]
    names = {rank[0] for rank in ranks if rank}
    return None not in ranks and len(names) == 1 and len(set(ranks)) == len(ranks)


def _numbered(pattern: re.Pattern[str], name: str) -> tuple[str, int] | None:
    suffix = _SUFFIX.fullmatch(name)
    match = pattern.fullmatch(suffix[1] if suffix else name)
    return (f"{match[1]}*{match[3]}", int(match[2])) if match else None
