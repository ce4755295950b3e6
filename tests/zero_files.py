"""DeepSpeed's checkpoints as its version 0.19 lays them out, written without DeepSpeed, and the
numbers that are in them."""

import io
import math
import sys
import types
from collections import OrderedDict
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

import torch

STEP = 12.0
SETTINGS = {"lr": 2e-3, "betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": 0.1}
KEYS = ("exp_avg", "exp_avg_sq")


class LossScaler:
    def __init__(self):
        self.cur_scale = 1.0


class ZeroStageEnum(IntEnum):
    optimizer_states = 1
    gradients = 2
    weights = 3


HOMES = {
    LossScaler: "deepspeed.runtime.fp16.loss_scaler",
    ZeroStageEnum: "deepspeed.runtime.zero.config",
}


@contextmanager
def deepspeed():
    """Its classes where its pickles name them."""
    made = {}
    for kind, home in HOMES.items():
        parts = home.split(".")
        names = [".".join(parts[:end]) for end in range(1, len(parts) + 1)]
        made |= {name: types.ModuleType(name) for name in names if name not in made}
        setattr(made[home], kind.__name__, kind)
        kind.__module__ = home
    sys.modules.update(made)
    try:
        yield
    finally:
        for name in made:
            del sys.modules[name]
        for kind in HOMES:
            kind.__module__ = __name__


def numbers(shape, seed, scale=0.1):
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


GROUPS = (
    {"emb.weight": (11, 7), "layers.0.weight": (5, 7), "layers.1.weight": (7, 5)},
    {"layers.0.bias": (5,), "norm.weight": (7,), "scale": (1,)},
)


@dataclass
class Zero:
    """A checkpoint of a stage on some ranks. groups: names and shapes; sub: of how many elements a
    sub-group of stage 3 is full; change: what is done to the tables of a file before it is saved,
    by the file's name."""

    stage: int = 2
    world: int = 2
    groups: tuple = GROUPS
    frozen: dict = field(default_factory=dict)
    tied: dict = field(default_factory=dict)
    dtype: torch.dtype = torch.bfloat16
    sub: int | None = None
    change: object = None
    mp: int = 0
    seed: int = 0
    extra: dict = field(default_factory=dict)
    buffers: dict = field(default_factory=lambda: {"pos": torch.arange(4.0)})

    def __post_init__(self):
        names = [name for group in self.groups for name in group]
        shapes = {name: shape for group in self.groups for name, shape in group.items()}
        own = self.seed
        self.masters = {n: numbers(shapes[n], own + i) for i, n in enumerate(names)}
        self.moments = {
            "exp_avg": {n: numbers(shapes[n], own + 100 + i, 1e-3) for i, n in enumerate(names)},
            "exp_avg_sq": {
                n: numbers(shapes[n], own + 200 + i, 1e-3) ** 2 for i, n in enumerate(names)
            },
        }
        self.still = {n: numbers(s, own + 300 + i) for i, (n, s) in enumerate(self.frozen.items())}

    @property
    def module(self):
        """The model's own tensors, as the stage leaves them."""
        whole = self.buffers | {
            name: one.to(self.dtype) for name, one in (self.masters | self.still).items()
        }
        whole |= {name: whole[of] for name, of in self.tied.items()}
        if self.stage == 3:
            none = torch.empty(0, dtype=self.dtype)
            whole = {name: self.buffers.get(name, none) for name in whole}
        return OrderedDict(whole)

    @property
    def shapes(self):
        """Those of each group, in stage 3 of each sub-group."""
        groups = []
        for group in self.groups:
            groups.append(OrderedDict())
            for name, shape in group.items():
                groups[-1][name] = torch.Size(shape)
                if self.sub and sum(map(torch.Size.numel, groups[-1].values())) > self.sub:
                    groups.append(OrderedDict())
            if not groups[-1]:
                del groups[-1]
        return groups

    def vectors(self, values, group):
        """The vector of each rank, and how many elements of the last are padding."""
        flat = [values[name].flatten() for name in group]
        if self.stage < 3:
            whole = torch.cat(flat)
            padding = -len(whole) % (2 * self.world)
            return torch.cat([whole, torch.zeros(padding)]).chunk(self.world), padding
        return [torch.cat([self.part(one, rank) for one in flat]) for rank in range(self.world)], 0

    def part(self, flat, rank):
        """A rank's part of one tensor, as stage 3 cuts it."""
        each = math.ceil(len(flat) / self.world)
        own = flat[rank * each : (rank + 1) * each]
        return torch.cat([own, torch.full((each - len(own),), 9.0, dtype=own.dtype)])

    def rank_state(self, rank):
        masters, states, paddings = [], {}, []
        for number, group in enumerate(self.shapes):
            own, padding = self.vectors(self.masters, group)
            paddings.append(padding if rank == self.world - 1 else 0)
            masters.append(own[rank][: len(own[rank]) - paddings[-1]].clone())
            states[number] = {"step": torch.tensor(STEP)} | {
                key: self.vectors(self.moments[key], group)[0][rank].clone() for key in KEYS
            }
        inner = {"state": states, "param_groups": self.param_groups()}
        held = {"loss_scaler": LossScaler(), "zero_stage": ZeroStageEnum(self.stage)}
        if self.stage == 3:
            held |= {"partition_count": self.world, "optimizer_state_dict": inner}
            return held | {"fp32_flat_groups": masters}
        held |= {"base_optimizer_state": inner, "single_partition_of_fp32_groups": masters}
        held |= {"group_paddings": paddings, "partition_count": [self.world] * len(masters)}
        return held | {"param_alignment_paddings": [[0] * len(g) for g in self.shapes]}

    def param_groups(self):
        groups, at = [], 0
        for number, group in enumerate(self.groups):
            own = sum(bool(set(group) & set(shapes)) for shapes in self.shapes)
            decay = {"weight_decay": 0.1 if not number else 0.0}
            groups.append(SETTINGS | decay | {"params": [*range(at, at + own)]})
            at += own
        return groups

    def model_state(self, rank):
        each = (lambda one: self.part(one.flatten(), rank)) if self.stage == 3 else lambda one: one
        return {
            "module": self.module,
            "buffer_names": [*self.buffers],
            "optimizer": None,
            "param_shapes": self.shapes,
            "frozen_param_shapes": {n: torch.Size(s) for n, s in self.frozen.items()} or None,
            "frozen_param_fragments": {n: each(t.to(self.dtype)) for n, t in self.still.items()},
            "shared_params": self.tied,
            "global_steps": int(STEP),
            "dp_world_size": self.world,
        } | self.extra

    def files(self):
        """The tables of each file by its name."""
        bf16 = "bf16_" if self.dtype == torch.bfloat16 else ""
        mp = f"mp_rank_{self.mp:02}"
        found = {}
        for rank in range(self.world):
            name = f"{bf16}zero_pp_rank_{rank}_{mp}_optim_states.pt"
            found[name] = {"optimizer_state_dict": self.rank_state(rank), "ds_version": "0.19.8"}
            if self.stage == 3:
                found[f"zero_pp_rank_{rank}_{mp}_model_states.pt"] = self.model_state(rank)
        if self.stage < 3:
            found[f"{mp}_model_states.pt"] = self.model_state(0)
        return found

    def contents(self):
        """The bytes of each file by its name."""
        found = {}
        with deepspeed():
            for name, tables in self.files().items():
                file = io.BytesIO()
                torch.save(tables, file)
                found[name] = file.getvalue()
        return found

    def save(self, folder, step="global_step12"):
        """Writes a run whose `latest` names its only step; the folder of the run."""
        folder = Path(folder)
        (folder / step).mkdir(parents=True, exist_ok=True)
        (folder / "latest").write_text(step)
        with deepspeed():
            for name, tables in self.files().items():
                if self.change is not None:
                    self.change(name, tables)
                torch.save(tables, folder / step / name)
        return folder

    def save_universal(self, folder):
        """Writes what ds_to_universal makes of it: flat tensors by themselves of stage 3."""
        folder = Path(folder)
        for name, master in self.masters.items():
            own = folder / "zero" / name
            own.mkdir(parents=True)
            kept = {key: self.moments[key][name] for key in KEYS} | {"fp32": master}
            for key, one in kept.items():
                tables = one.flatten() if self.stage == 3 else {"cat_dim": 0, "param": one}
                torch.save(tables, own / f"{key}.pt")
            if self.stage < 3:
                torch.save(torch.tensor(STEP), own / "step.pt")
        with deepspeed():
            inner = {"state": {}, "param_groups": self.param_groups()}
            if self.stage == 3:
                inner = {"optimizer_state_dict": self.rank_state(0)["optimizer_state_dict"]}
            torch.save(inner, folder / "zero" / "optimizer_state.pt")
            for name, tables in self.files().items():
                if name.endswith("model_states.pt"):
                    torch.save(tables, folder / name)
        return folder


def files_of_model(model):
    """A step of stage 1 whose module is a model, by the names of its files."""
    zero = Zero(1, 2, groups=({name: tuple(one.shape) for name, one in model.items()},), buffers={})
    zero.masters = {name: one.float() for name, one in model.items()}

    def files(own=zero.files):
        found = own()
        found["mp_rank_00_model_states.pt"]["module"] = OrderedDict(model)
        return found

    zero.files = files
    return zero.contents()
