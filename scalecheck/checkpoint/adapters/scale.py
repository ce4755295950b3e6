"""What the product of an adapter's halves is multiplied by: alpha/rank, of rsLoRA alpha/√rank, by
what lies beside the halves, in adapter_config.json or in the metadata of their file."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import translate
from pathlib import Path
from typing import Any

from scalecheck.checkpoint.files import strict_json
from scalecheck.checkpoint.tensor import Checkpoint, Tensor
from scalecheck.errors import reason
from scalecheck.report.formatting import excerpt, setting

CONFIG = "adapter_config.json"
METADATA = "lora_adapter_metadata"  # diffusers' settings of an adapter, in the header of its file
ADAPTER_SETTINGS = (
    *("r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora", "use_dora"),
    *("init_lora_weights", "base_model_name_or_path"),
)
"""What is read of PEFT's configuration."""
NO_ALPHA = f"alpha is not known: none beside its halves, no {CONFIG}"
MAX_NBYTES = 1 << 20  # of a configuration; those of real adapters have some 1 kB
MAX_VALUES = 50_000
MAX_WILD = 64  # patterns of one with wildcards, each of which is tried on each module

_PLAIN = re.compile(r"[\w.\-/ ]+")  # of a pattern, once \. and .* are taken off
# Starts other than B = 0, which take B·A off the weights, so that ΔW is no change of theirs.
_SHIFTED = re.compile(r"pissa\w*|olora|corda|loftq|eva|lora_ga", re.IGNORECASE)


@dataclass(frozen=True)
class Scale:
    """alpha, and the factor of the product that follows; None where `reason` says why not."""

    alpha: float | None = None
    factor: float | None = None
    reason: str = ""
    is_dora: bool = False


class Patterns:
    """Numbers by patterns of modules' names, of which PEFT takes the first that matches the end of
    a name from a dot on. is_read: all are names, but for `.*` in them."""

    def __init__(self, table: Mapping[str, Any]) -> None:
        self._numbers: list[Any] = [*table.values()]
        self._names: dict[str, int] = {}
        self._wild: list[tuple[int, re.Pattern[str]]] = []
        self.is_read = True
        for place, key in enumerate(table):
            glob = key.removeprefix("^").replace(r"\.", ".").replace(".*", "*")
            if not _PLAIN.fullmatch(glob.replace("*", "")) or len(self._wild) >= MAX_WILD:
                self.is_read = False
            elif "*" in glob:
                self._wild.append((place, re.compile(translate(glob))))
                self._wild.append((place, re.compile(translate(f"*.{glob}"))))
            else:
                self._names.setdefault(glob, place)
        self._parts = max((name.count(".") for name in self._names), default=-1) + 1

    def of(self, module: str) -> Any:
        """The number of a module; None where no pattern matches."""
        parts = module.split(".")[-self._parts :] if self._parts else []
        ends = (".".join(parts[at:]) for at in range(len(parts)))
        places = [self._names[end] for end in ends if end in self._names]
        places += [place for place, pattern in self._wild if pattern.match(module)]
        return self._numbers[min(places)] if places else None


@dataclass(frozen=True)
class AdapterConfig:
    """What a configuration says of an adapter, PEFT's or MLX's; unread: why it says nothing.

    factor: what the product is multiplied by, as MLX has it. base: the model that it is made for.
    """

    path: str
    rank: float | None = None
    alpha: float | None = None
    factor: float | None = None
    ranks: Patterns = field(default_factory=lambda: Patterns({}))
    alphas: Patterns = field(default_factory=lambda: Patterns({}))
    is_rank_stabilised: bool = False
    is_dora: bool = False
    start: str = ""
    base: str = ""
    unread: str = ""

    @classmethod
    def of(cls, path: str, members: Mapping[str, Any]) -> "AdapterConfig":
        """Of a parsed one."""
        own = members.get("lora_parameters")
        own = own if isinstance(own, dict) else {}
        start, base = members.get("init_lora_weights"), members.get("base_model_name_or_path")
        kind = members.get("fine_tune_type")
        return cls(
            path,
            rank=_number(members.get("r", own.get("rank"))),
            alpha=_number(members.get("lora_alpha", own.get("alpha"))),
            factor=_number(own.get("scale")),
            ranks=_patterns(members.get("rank_pattern")),
            alphas=_patterns(members.get("alpha_pattern")),
            is_rank_stabilised=members.get("use_rslora") is True,
            is_dora=members.get("use_dora") is True or kind == "dora",
            start=start if isinstance(start, str) else "",
            base=base if isinstance(base, str) else "",
        )

    def scale(self, module: str, rank: int) -> Scale:
        """What it says of a module whose halves have this rank."""
        if self.unread:
            return Scale(reason=f"alpha is not known: {self.unread}")
        if self.factor is not None:
            return Scale(self.alpha, self.factor, is_dora=self.is_dora)
        alpha = _number(self.alphas.of(module))
        if alpha is None and not self.alphas.is_read:
            words = f"alpha_pattern of {self.path} has expressions that are not read"
            return Scale(reason=f"alpha is not known: {words}", is_dora=self.is_dora)
        alpha = self.alpha if alpha is None else alpha
        if alpha is None:
            words = f"alpha is not known: {self.path} has no lora_alpha"
            return Scale(reason=words, is_dora=self.is_dora)
        divisor = math.sqrt(rank) if self.is_rank_stabilised else rank
        return Scale(alpha, alpha / divisor, is_dora=self.is_dora)

    def other_rank(self, module: str, rank: int) -> float | None:
        """The rank that it says a module has, where the halves have another."""
        said = _number(self.ranks.of(module))
        if said is None and self.ranks.is_read:
            said = self.rank
        return said if said is not None and said != rank else None


class Scales:
    """The scales of a checkpoint's adapters. notes: where a configuration does not fit."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._configs: dict[Path, AdapterConfig | None] = {}
        self._metadata = _of_metadata(checkpoint)
        self._noted: dict[str, None] = {}

    @property
    def notes(self) -> list[str]:
        return [*self._noted]

    def of(self, module: str, rank: int, half: Tensor, alpha: Tensor | None) -> Scale:
        """The scale of a module's product. Raises CheckpointError where alpha cannot be read."""
        config = self._config(half) or self._of_component(module)
        if config is not None:
            self._note(config, module, rank)
        if alpha is not None and alpha.numel == 1 and alpha.unmeasured is None:
            number = float(alpha.array().reshape(-1)[0])
            is_dora = config is not None and config.is_dora
            if not math.isfinite(number):
                return Scale(reason=f"its alpha is {number}", is_dora=is_dora)
            return Scale(number, number / rank, is_dora=is_dora)
        return Scale(reason=NO_ALPHA) if config is None else config.scale(module, rank)

    def _config(self, half: Tensor) -> AdapterConfig | None:
        path = half.source.path
        if path not in self._configs:
            self._configs[path] = config_beside(path)
        return self._configs[path]

    def _of_component(self, module: str) -> AdapterConfig | None:
        """What the metadata of the file says, of diffusers for the pipeline's part."""
        return self._metadata.get(module.partition(".")[0], self._metadata.get(""))

    def _note(self, config: AdapterConfig, module: str, rank: int) -> None:
        if (said := config.other_rank(module, rank)) is not None:
            where = Path(config.path).name
            self._noted.setdefault(
                f"{where} says rank {setting(said)} where halves have rank {rank}: theirs counts"
            )
        if _SHIFTED.fullmatch(config.start):
            self._noted.setdefault(
                f"the adapter began as {excerpt(config.start, 40)}, with B·A taken off the "
                "weights: ΔW is not how far training moved them"
            )


def config_beside(file: Path) -> AdapterConfig | None:
    """The configuration in the folder of a file; None where there is none, and of what is no file,
    as a model in memory."""
    path = file.with_name(CONFIG)
    try:
        if not file.is_file():
            return None
        text = strict_json.text_of(path, MAX_NBYTES)
        if text is None:
            raise ValueError(f"it is larger than {MAX_NBYTES} bytes")
        members = strict_json.parsed(text, MAX_VALUES)
        if not isinstance(members, dict):
            raise ValueError("it holds no settings by name")
    except FileNotFoundError:
        return None
    except OSError as error:
        return AdapterConfig(str(path), unread=f"{path}: {reason(error)}")
    except ValueError as error:
        return AdapterConfig(str(path), unread=f"{path} is not read: {excerpt(str(error))}")
    return AdapterConfig.of(str(path), members)


def _of_metadata(checkpoint: Checkpoint) -> dict[str, AdapterConfig]:
    """What the metadata of a file says, by the pipeline's part that its settings are of; kohya's
    are of all."""
    metadata = checkpoint.metadata
    where = f"the metadata of {checkpoint.path}"
    if text := metadata.get(METADATA):
        try:
            members = strict_json.parsed(text.encode("utf-8", "replace"), MAX_VALUES)
        except ValueError as error:
            return {"": AdapterConfig(where, unread=f"{where} is not read: {excerpt(str(error))}")}
        parts: dict[str, dict[str, Any]] = {}
        for key, value in members.items() if isinstance(members, dict) else ():
            part, _, word = key.rpartition(".")
            parts.setdefault(part, {})[word] = value
        return {part: AdapterConfig.of(where, own) for part, own in parts.items()}
    alpha = _of_text(metadata.get("ss_network_alpha"))
    if alpha is None:
        return {}
    rank = _of_text(metadata.get("ss_network_dim"))
    return {"": AdapterConfig(where, rank=rank, alpha=alpha)}


def _of_text(text: str | None) -> float | None:
    try:
        return _number(float(text)) if text else None
    except ValueError:
        return None


def _number(value: object) -> float | None:
    """A finite number; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _patterns(table: object) -> Patterns:
    return Patterns(table if isinstance(table, dict) else {})
