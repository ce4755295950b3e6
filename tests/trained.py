"""A small network and its training, for what optimizers save."""

import torch
from torch import nn


class TensorStats(nn.Module):
    def __init__(self):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(1.5))

    def forward(self, x):
        return x * self.factor


class Network(nn.Module):
    """Parameters of no, one, two and four dimensions, buffers between them, and a tied weight."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 3, 2)
        self.norm = nn.BatchNorm2d(3)
        self.scale = TensorStats()
        self.up = nn.Linear(3, 5)
        self.down = nn.Linear(5, 3, bias=False)
        self.head = nn.Linear(3, 5)
        self.head.weight = self.up.weight

    def forward(self, x):
        pooled = self.scale(self.norm(self.stem(x)).mean((2, 3)))
        return self.head(self.down(self.up(pooled).tanh()))


def steps(model, optimizer, count=3, dtype=torch.float32):
    """The optimizer after so many steps."""
    generator = torch.Generator().manual_seed(7)
    for _ in range(count):
        batch = torch.randn(4, 1, 4, 4, generator=generator).to(dtype)

        def loss(batch=batch):
            optimizer.zero_grad()
            error = model(batch).square().mean()
            error.backward()
            return error

        optimizer.step(loss)
    return optimizer


def matrices(model):
    return [parameter for parameter in model.parameters() if parameter.dim() == 2]


OPTIMIZERS = {
    "ASGD": lambda model: torch.optim.ASGD(model.parameters()),
    "Adadelta": lambda model: torch.optim.Adadelta(model.parameters()),
    "Adafactor": lambda model: torch.optim.Adafactor(model.parameters()),
    "Adagrad": lambda model: torch.optim.Adagrad(model.parameters()),
    "Adam": lambda model: torch.optim.Adam(model.parameters()),
    "AdamW": lambda model: torch.optim.AdamW(model.parameters()),
    "Adamax": lambda model: torch.optim.Adamax(model.parameters()),
    "Muon": lambda model: torch.optim.Muon(matrices(model)),
    "NAdam": lambda model: torch.optim.NAdam(model.parameters()),
    "RAdam": lambda model: torch.optim.RAdam(model.parameters()),
    "RMSprop": lambda model: torch.optim.RMSprop(model.parameters(), centered=True, momentum=0.9),
    "Rprop": lambda model: torch.optim.Rprop(model.parameters()),
    "SGD": lambda model: torch.optim.SGD(model.parameters(), momentum=0.9),
    "SGD without momentum": lambda model: torch.optim.SGD(model.parameters()),
    "AdamW amsgrad": lambda model: torch.optim.AdamW(model.parameters(), amsgrad=True),
    "AdamW foreach": lambda model: torch.optim.AdamW(model.parameters(), foreach=True),
    "AdamW fused": lambda model: torch.optim.AdamW(model.parameters(), fused=True),
    "Adam lr tensor": lambda model: torch.optim.Adam(model.parameters(), lr=torch.tensor(0.01)),
    "Adam betas tensors": lambda model: torch.optim.Adam(
        model.parameters(), betas=(torch.tensor(0.8), torch.tensor(0.9))
    ),
    "Adam two groups": lambda model: torch.optim.Adam(
        [
            {"params": [*model.stem.parameters()], "lr": 0.5, "name": "stem", "betas": (0.5, 0.7)},
            {"params": [*model.down.parameters()], "weight_decay": 0.1},
        ]
    ),
}
