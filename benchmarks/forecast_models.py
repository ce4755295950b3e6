"""Four small networks and what they are trained on, made from a seed or from the texts of Python's
own documentation: a character GPT, an LSTM, a CNN and an MLP."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pydoc_data.topics import topics

import torch
from torch import Tensor, nn
from torch.nn import functional

CONTEXT = 32  # characters of a sequence
SEQUENCES = 4  # of a batch
WIDTH = 64
CLASSES = 10
IMAGES = 2048  # so few that the CNN learns them by heart, and its loss vanishes
SIDE = 16
INPUTS, OUTPUTS = 32, 8

Loss = Callable[[nn.Module, torch.Generator], tuple[Tensor, Tensor | None]]


@dataclass(frozen=True)
class Problem:
    """A network and its training data.

    make: the network, from torch's random numbers. loss: that of one batch, and the batch's rows of
    the embedding, None where there is none. embedding: the name of that tensor.
    """

    make: Callable[[], nn.Module]
    loss: Loss
    embedding: str | None = None


@cache
def text() -> tuple[Tensor, int]:
    """Python's documentation as numbers of characters, and how many different ones there are."""
    words = "\n".join(topics[word] for word in sorted(topics))
    letters = {letter: n for n, letter in enumerate(sorted(set(words)))}
    return torch.tensor([letters[letter] for letter in words]), len(letters)


class Block(nn.Module):
    """Attention and MLP with their norms before them, as GPT-2 has them."""

    def __init__(self) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attention, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.attention(self.ln_1(x)).split(WIDTH, -1)
        query, key, value = (each.unflatten(-1, (4, -1)).transpose(1, 2) for each in parts)
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        return x + self.down(functional.gelu(self.up(self.ln_2(x))))


class GPT(nn.Module):
    """Two blocks of width 64; the head is not tied to the embedding. Weights start at std 0.02."""

    def __init__(self) -> None:
        super().__init__()
        _, letters = text()
        self.wte, self.wpe = nn.Embedding(letters, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(2))
        self.ln_f, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, letters, bias=False)
        for weight in self.parameters():
            if weight.ndim > 1:
                nn.init.normal_(weight, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.wte(tokens) + self.wpe.weight
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.head(self.ln_f(x))
        return out


class LSTM(nn.Module):
    """One layer of 96 between an embedding and a head, as torch initializes them."""

    def __init__(self) -> None:
        super().__init__()
        _, letters = text()
        self.embedding = nn.Embedding(letters, WIDTH)
        self.lstm, self.head = nn.LSTM(WIDTH, 96, batch_first=True), nn.Linear(96, letters)

    def forward(self, tokens: Tensor) -> Tensor:
        out: Tensor = self.head(self.lstm(self.embedding(tokens))[0])
        return out


def cnn() -> nn.Module:
    """Three convolutions with batch norms, and two linear layers."""
    layers: list[nn.Module] = []
    for before, after in ((1, 16), (16, 32), (32, 32)):
        layers += [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after)]
        layers += [nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10))


def mlp() -> nn.Module:
    """Three linear layers."""
    return nn.Sequential(
        nn.Linear(INPUTS, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, OUTPUTS)
    )


def next_letter(model: nn.Module, draw: torch.Generator) -> tuple[Tensor, Tensor | None]:
    """Of sequences from anywhere in the text."""
    letters, _ = text()
    starts = torch.randint(len(letters) - CONTEXT - 1, (SEQUENCES, 1), generator=draw)
    rows = letters[starts + torch.arange(CONTEXT + 1)]
    logits = model(rows[:, :-1])
    return functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten()), rows[:, :-1]


@cache
def images() -> tuple[Tensor, Tensor]:
    """Each class a pattern of 8×8 blocks, shifted by up to 2 pixels, in noise."""
    draw = torch.Generator().manual_seed(7)
    patterns = torch.randn(CLASSES, 1, 8, 8, generator=draw).repeat_interleave(2, 2)
    patterns = patterns.repeat_interleave(2, 3)
    labels = torch.randint(CLASSES, (IMAGES,), generator=draw)
    shifts = torch.randint(-2, 3, (IMAGES, 2), generator=draw).tolist()
    shown = [
        patterns[label].roll(tuple(shift), (1, 2))
        for label, shift in zip(labels.tolist(), shifts, strict=True)
    ]
    return torch.stack(shown) + torch.randn(IMAGES, 1, SIDE, SIDE, generator=draw), labels


def classes(model: nn.Module, draw: torch.Generator) -> tuple[Tensor, Tensor | None]:
    """Of 16 of the images."""
    pixels, labels = images()
    chosen = torch.randint(IMAGES, (16,), generator=draw)
    return functional.cross_entropy(model(pixels[chosen]), labels[chosen]), None


@cache
def teacher() -> nn.Module:
    """The network that the MLP learns."""
    with torch.random.fork_rng([]):
        torch.manual_seed(11)
        return nn.Sequential(nn.Linear(INPUTS, 64), nn.Tanh(), nn.Linear(64, OUTPUTS))


def regression(model: nn.Module, draw: torch.Generator) -> tuple[Tensor, Tensor | None]:
    """Of 32 new inputs; the answers are noisy."""
    inputs = torch.randn(32, INPUTS, generator=draw)
    with torch.no_grad():
        answers = 3 * teacher()(inputs) + 0.3 * torch.randn(32, OUTPUTS, generator=draw)
    return functional.mse_loss(model(inputs), answers), None


PROBLEMS = {
    "gpt": Problem(GPT, next_letter, "wte.weight"),
    "lstm": Problem(LSTM, next_letter, "embedding.weight"),
    "cnn": Problem(cnn, classes),
    "mlp": Problem(mlp, regression),
}
