"""Trains a tiny GPT on the text of Python's own documentation and writes the sample checkpoints.

Usage: python sample_ckpts/make.py [FOLDER] [--steps N]
"""

import argparse
import json
import math
from collections import OrderedDict
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

SEED, STEPS, THREADS = 1337, 1500, 1
LAYERS, HEADS, WIDTH, CONTEXT = 4, 4, 48, 64
BATCH, PEAK_LR, FLOOR, WARMUP = 32, 2e-3, 0.1, 0.1
BETAS, EPS, DECAY, CLIP = (0.9, 0.99), 1e-8, 0.1, 1.0
LOG_EVERY, PRINT_EVERY = 20, 100
RANK, ALPHA, ADAPTER_LR, ADAPTER_STEPS = 4, 8, 1e-3, 100

BROKEN_LAYERS, BROKEN_WIDTH, BROKEN_HIDDEN, BROKEN_VOCAB = 6, 64, 32, 48
BROKEN_STD = 0.125
NAN_AT = [(3, 17), (29, 5), (60, 44)]
INF_AT = [(8, 30, -math.inf), (11, 2, math.inf), (11, 40, -math.inf), (52, 63, math.inf)]
DEAD_ROWS = [7, 19, 20, 33, 47]
OUTLIER_LAYER, OUTLIER_FACTOR = 3, 100.0

Tensors = dict[str, Tensor]
LogEntry = dict[str, float]


class Block(nn.Module):
    """One pre-norm transformer block: causal self-attention, then a four times wider MLP."""

    def __init__(self) -> None:
        super().__init__()
        out, down = nn.Linear(WIDTH, WIDTH), nn.Linear(4 * WIDTH, WIDTH)
        self.ln1 = nn.LayerNorm(WIDTH)
        self.attn = nn.ModuleDict({"qkv": nn.Linear(WIDTH, 3 * WIDTH), "out": out})
        self.ln2 = nn.LayerNorm(WIDTH)
        up = nn.Linear(WIDTH, 4 * WIDTH)
        self.mlp = nn.Sequential(OrderedDict(up=up, gelu=nn.GELU(), down=down))

    def forward(self, x: Tensor) -> Tensor:
        qkv = self.attn["qkv"](self.ln1(x)).view(*x.shape[:2], 3, HEADS, WIDTH // HEADS)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.attn["out"](mixed.transpose(1, 2).reshape(x.shape))
        return x + self.mlp(self.ln2(x))  # type: ignore[no-any-return]


class GPT(nn.Module):
    """A character GPT with GPT-2's initialisation and a tied output head."""

    def __init__(self, vocab: int) -> None:
        super().__init__()
        self.tok_emb = nn.Embedding(vocab, WIDTH)
        self.pos_emb = nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.Sequential(*(Block() for _ in range(LAYERS)))
        self.ln_f = nn.LayerNorm(WIDTH)
        self.lm_head = nn.Linear(WIDTH, vocab, bias=False)
        self.lm_head.weight = self.tok_emb.weight
        for name, param in self.named_parameters():
            if param.ndim >= 2:
                residual = name.endswith(("attn.out.weight", "mlp.down.weight"))
                nn.init.normal_(param, std=0.02 / math.sqrt(2 * LAYERS) if residual else 0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(param)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.blocks(self.tok_emb(tokens) + self.pos_emb.weight)
        return self.lm_head(self.ln_f(x))  # type: ignore[no-any-return]


class Adapted(nn.Module):
    """A linear layer that is not trained, and LoRA beside it."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.base_layer = layer.requires_grad_(False)
        self.lora_A = nn.Linear(layer.in_features, RANK, bias=False)
        self.lora_B = nn.Linear(RANK, layer.out_features, bias=False)
        nn.init.kaiming_uniform_(self.lora_A.weight, a=math.sqrt(5))
        nn.init.zeros_(self.lora_B.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.base_layer(x) + ALPHA / RANK * self.lora_B(self.lora_A(x))  # type: ignore[no-any-return]


def lr_factor(done: int, *, total: int) -> float:
    """Returns the factor on the peak learning rate once `done` of `total` steps are made."""
    warmup = max(1, int(total * WARMUP))
    if done < warmup:
        return (done + 1) / warmup
    progress = (done - warmup) / (total - warmup)
    return FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * progress))


def make_optimizer(model: nn.Module) -> AdamW:
    """Returns AdamW with a decay group (matrices) and a no-decay group (biases and norms)."""
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    groups = [
        {"params": matrices, "weight_decay": DECAY},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return AdamW(groups, lr=PEAK_LR, betas=BETAS, eps=EPS)


def train(
    model: GPT, optimizer: AdamW, scheduler: LambdaLR, data: Tensor, steps: int
) -> Iterator[LogEntry]:
    """Makes the steps one by one and yields after each what a log entry says of it."""
    rng = torch.Generator().manual_seed(SEED)
    for step in range(1, steps + 1):
        starts = torch.randint(len(data) - CONTEXT, (BATCH, 1), generator=rng)
        windows = data[starts + torch.arange(CONTEXT + 1)]
        loss = F.cross_entropy(model(windows[:, :-1]).flatten(0, 1), windows[:, 1:].flatten())
        loss.backward()  # type: ignore[no-untyped-call]
        grad_norm = nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        applied_lr = float(optimizer.param_groups[0]["lr"])
        # The Trainer saves after this line, so a checkpoint's param_groups hold the next rate.
        scheduler.step()
        optimizer.zero_grad()
        yield {
            "epoch": step * BATCH * CONTEXT / len(data),
            "grad_norm": grad_norm.item(),
            "learning_rate": applied_lr,
            "loss": loss.item(),
            "step": step,
        }


def thin(entries: list[LogEntry]) -> list[LogEntry]:
    """Returns the first, every LOG_EVERY-th and the last entry, each with the mean loss since."""
    last = len(entries)
    ends = sorted({1, *range(LOG_EVERY, last + 1, LOG_EVERY), last})
    log: list[LogEntry] = []
    for start, end in zip([0, *ends], ends, strict=False):
        losses = [entry["loss"] for entry in entries[start:end]]
        log.append({**entries[end - 1], "loss": round(sum(losses) / len(losses), 4)})
    return log


def trainer_state(log: list[LogEntry], weights: Tensors) -> dict[str, Any]:
    """Returns the fields that transformers' TrainerState writes at the last step."""
    steps = int(log[-1]["step"])
    tokens = steps * BATCH * CONTEXT
    body_size = sum(t.numel() for name, t in weights.items() if "emb" not in name)
    control = {
        "should_epoch_stop": False,
        "should_evaluate": False,
        "should_log": False,
        "should_save": True,
        "should_training_stop": True,
    }
    return {
        "best_global_step": None,
        "best_metric": None,
        "best_model_checkpoint": None,
        "epoch": log[-1]["epoch"],
        "eval_steps": 500,
        "global_step": steps,
        "is_hyper_param_search": False,
        "is_local_process_zero": True,
        "is_world_process_zero": True,
        "log_history": log,
        "logging_steps": LOG_EVERY,
        "max_steps": steps,
        "num_input_tokens_seen": tokens,
        "num_train_epochs": math.ceil(log[-1]["epoch"]),
        "save_steps": 500,
        "stateful_callbacks": {"TrainerControl": {"args": control, "attributes": {}}},
        "total_flos": 6.0 * body_size * tokens,
        "train_batch_size": BATCH,
        "trial_name": None,
        "trial_params": None,
    }


def config(steps: int, characters: list[str]) -> dict[str, Any]:
    """Returns the settings of the run as plain values."""
    model = {"n_layer": LAYERS, "n_head": HEADS, "n_embd": WIDTH, "block_size": CONTEXT}
    schedule = {"lr": PEAK_LR, "min_lr_rate": FLOOR, "warmup_rate": WARMUP, "max_steps": steps}
    adamw = {"betas": list(BETAS), "eps": EPS, "weight_decay": DECAY, "grad_clip": CLIP}
    return {**model, **schedule, **adamw, "batch_size": BATCH, "seed": SEED, "vocab": characters}


def parameters(model: nn.Module) -> Tensors:
    """Returns a copy of every parameter, the tied matrix once."""
    return {name: param.detach().clone() for name, param in model.named_parameters()}


def write_json(value: dict[str, Any], path: Path) -> None:
    """Writes sorted, indented JSON."""
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def write_safetensors(tensors: Tensors, path: Path) -> None:
    """Writes one safetensors file with the metadata Hugging Face puts there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, metadata={"format": "pt"})


def write_shards(tensors: Tensors, folder: Path) -> None:
    """Writes the tensors in order, cut into two shards of about equal size, with their index."""
    total = sum(t.nbytes for t in tensors.values())
    shards: dict[str, Tensors] = {f"model-0000{n}-of-00002.safetensors": {} for n in (1, 2)}
    first, second = shards
    weight_map: dict[str, str] = {}
    written = 0
    for name, tensor in tensors.items():
        weight_map[name] = first if written < total / 2 else second
        shards[weight_map[name]][name] = tensor
        written += tensor.nbytes
    for file_name, shard in shards.items():
        write_safetensors(shard, folder / file_name)
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    write_json(index, folder / "model.safetensors.index.json")


def write_run(out: Path, steps: int) -> None:
    """Trains the model and writes every file that comes out of the run."""
    text = "".join(topics[key] for key in sorted(topics))
    characters = sorted(set(text))
    number_of = {character: number for number, character in enumerate(characters)}
    data = torch.tensor([number_of[character] for character in text])

    torch.manual_seed(SEED)
    model = GPT(len(characters))
    optimizer = make_optimizer(model)
    scheduler = LambdaLR(optimizer, partial(lr_factor, total=steps))
    write_safetensors(parameters(model), out / "tiny-gpt-init" / "model.safetensors")

    entries: list[LogEntry] = []
    for entry in train(model, optimizer, scheduler, data, steps):
        entries.append(entry)
        step = len(entries)
        if step in (1, steps) or step % PRINT_EVERY == 0:
            loss, lr = entry["loss"], entry["learning_rate"]
            print(f"step {step:5d}  loss {loss:.4f}  lr {lr:.8g}", flush=True)
        if step == steps - 1:
            saved = {
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "step": step,
                "config": config(steps, characters),
            }
            torch.save(saved, out / "tiny-gpt.pt")

    trained = parameters(model)
    folder = out / "tiny-gpt"
    write_safetensors(trained, folder / "model.safetensors")
    torch.save(optimizer.state_dict(), folder / "optimizer.pt")
    torch.save(scheduler.state_dict(), folder / "scheduler.pt")
    write_json(trainer_state(thin(entries), trained), folder / "trainer_state.json")
    write_shards({n: t.to(torch.bfloat16) for n, t in trained.items()}, out / "tiny-gpt-bf16")
    write_adapter(model, data, out / "tiny-gpt-lora", min(steps, ADAPTER_STEPS))


def write_adapter(model: GPT, data: Tensor, folder: Path, steps: int) -> None:
    """Trains LoRA beside the attention's projections and writes it as PEFT lays it out."""
    model.requires_grad_(False)
    for block in model.blocks:
        block.attn["qkv"] = Adapted(block.attn["qkv"])
    named = model.named_parameters(prefix="base_model.model")
    halves = {name: param for name, param in named if param.requires_grad}
    optimizer = AdamW([*halves.items()], lr=ADAPTER_LR, weight_decay=0.0)
    for _ in train(model, optimizer, LambdaLR(optimizer, lambda step: 1.0), data, steps):
        pass
    tensors = {name: param.detach().clone() for name, param in halves.items()}
    write_safetensors(tensors, folder / "adapter_model.safetensors")
    torch.save(optimizer.state_dict(), folder / "optimizer.pt")
    settings = {"peft_type": "LORA", "r": RANK, "lora_alpha": ALPHA, "target_modules": ["qkv"]}
    write_json({**settings, "use_rslora": False}, folder / "adapter_config.json")


def healthy(rows: int, columns: int, rng: torch.Generator, std: float = BROKEN_STD) -> Tensor:
    """Returns normal noise shifted away from zero by std / 64."""
    noise = torch.randn(rows, columns, generator=rng) * std
    # The shift keeps every element a normal, non-zero number in the narrow types too.
    return noise + torch.copysign(torch.tensor(std / 64), noise)


def broken_tensors() -> Tensors:
    """Returns part of a made-up six-block model with the defects the README lists."""
    rng = torch.Generator().manual_seed(SEED)
    width, hidden = BROKEN_WIDTH, BROKEN_HIDDEN
    tensors: Tensors = {}
    for layer in range(BROKEN_LAYERS):
        factor = OUTLIER_FACTOR if layer == OUTLIER_LAYER else 1.0
        tensors[f"blocks.{layer}.mlp.up.weight"] = healthy(hidden, width, rng) * factor

    with_nan = healthy(width, width, rng).to(torch.bfloat16)
    for row, column in NAN_AT:
        with_nan[row, column] = math.nan
    with_inf = healthy(width, width, rng).to(torch.float16)
    for row, column, value in INF_AT:
        with_inf[row, column] = value
    with_dead_rows = healthy(BROKEN_VOCAB, width, rng)
    with_dead_rows[DEAD_ROWS] = 0.0

    tensors["blocks.1.attn.q.weight"] = with_nan
    tensors["blocks.4.attn.out.weight"] = with_inf
    tensors["tok_emb.weight"] = with_dead_rows
    tensors["blocks.5.mlp.down.weight"] = torch.zeros(width, hidden)
    tensors["blocks.2.attn.v.weight"] = healthy(width, width, rng, 1.0).to(torch.float8_e4m3fn)
    tensors["prefix_emb.weight"] = torch.zeros(0, width)
    tensors["logit_scale"] = torch.tensor(math.log(1 / 0.07))
    tensors["position_ids"] = torch.arange(width).unsqueeze(0)
    return tensors


def main() -> None:
    """Reads the command line and writes all the sample files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path(__file__).parent)
    parser.add_argument("--steps", type=int, default=STEPS, help="optimizer steps, at least 2")
    args = parser.parse_args()
    if args.steps < 2:
        parser.error("--steps must be at least 2")
    args.folder.mkdir(parents=True, exist_ok=True)
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(THREADS)
    write_run(args.folder, args.steps)
    write_safetensors(broken_tensors(), args.folder / "broken.safetensors")


if __name__ == "__main__":
    main()
