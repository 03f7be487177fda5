"""One search step the way the published code makes it, in an own rewrite: device after device.

Φ step, per device: preference, hypernetwork (50 tables in a loop), ReinMax sample drawn by `torch.multinomial`, loss of
the supernet on the whole validation minibatch, predicted latency, linear scalarization, a backward pass through all of
it, in which the supernet's gradients are computed and thrown away, and the gradient of Φ kept. Then each gradient is
divided by its norm, the classic loop finds their weights, and Adam makes the update. w step, per device: a fresh
sample, a forward and a backward pass; mean gradient, clipped, SGD.

Left out: the files that the published code reads inside of its forward passes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from modnas_fast.bench.classic import classic_combination
from modnas_fast.bench.published_supernet import PublishedSupernet
from modnas_fast.bench.step_setting import SPACE, Setting, made_up_costs, made_up_devices, made_up_task
from modnas_fast.devices import embeddings


class PublishedHypernetwork(nn.Module):
    """The bank: called with r [2] and d [E] of one device, returns logits [30]."""

    def __init__(self, embedding_width: int, tables: int = 50, intervals: int = 101) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(intervals, SPACE.num_options) for _ in range(tables))
        for table in self.tables:
            nn.init.normal_(table.weight, std=1e-3)
        self.keys = nn.Parameter(torch.randn(tables, embedding_width))

    def forward(self, r: Tensor, d: Tensor) -> Tensor:
        attention = torch.softmax(torch.sin(self.keys @ d / math.sqrt(len(d))), dim=0)
        interval = (r[0] * (self.tables[0].num_embeddings - 1)).round().long()
        return sum(share * table(interval) for share, table in zip(attention, self.tables, strict=True))


def reinmax(logits: Tensor, onehot: Tensor) -> Tensor:
    """The value `onehot` with the straight-through gradient of ReinMax's Algorithm 2 at temperature 1; both [6, 5]."""
    p0 = logits.softmax(-1)
    p1 = (onehot + p0) / 2
    p1 = torch.softmax((p1.log() - logits).detach() + logits, -1)
    p2 = 2 * p1 - p0 / 2
    return p2 - p2.detach() + onehot


def drawn(logits: Tensor) -> Tensor:
    """A one-hot [6, 5] from softmax(logits)."""
    index = torch.multinomial(logits.softmax(-1), 1)
    return torch.zeros_like(logits).scatter_(-1, index, 1.0)


class PublishedStep:
    """The state of a search, advanced by `step()`."""

    name = "published loop"

    def __init__(self, setting: Setting) -> None:
        options = setting.config.search
        task = made_up_task(setting)
        self.d = embeddings(made_up_devices(setting.devices)).to(setting.where)
        self.costs = made_up_costs().to(setting.where)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(setting.config.seed)
            self.hypernet = PublishedHypernetwork(self.d.shape[1]).to(setting.where)
            supernet = PublishedSupernet(setting.classes, setting.channels, setting.cells)
        self.supernet = supernet.to(setting.where)
        self.train = task.stream("train", options.batch_size, seed=1, augment=True)
        self.validation = task.stream("validation", options.batch_size, seed=2)
        self.adam = torch.optim.Adam(
            self.hypernet.parameters(),
            lr=options.hyper_learning_rate,
            betas=options.hyper_betas,
            weight_decay=options.hyper_weight_decay,
        )
        self.sgd = torch.optim.SGD(
            self.supernet.parameters(),
            lr=options.weight_learning_rate,
            momentum=options.weight_momentum,
            weight_decay=options.weight_decay,
        )
        self.gradient_clip = options.gradient_clip

    def step(self) -> None:
        """One Φ step, then one w step."""
        self.hyper_step()
        self.weight_step()

    def sample(self, r: Tensor, d: Tensor) -> Tensor:
        """The architecture [30] of one device, with its gradient."""
        logits = self.hypernet(r, d).view(len(SPACE.choices), -1)
        return reinmax(logits, drawn(logits.detach())).flatten()

    def hyper_step(self) -> None:
        """One update of Φ."""
        x, y = next(self.validation)
        gradients = []
        for d in self.d:
            self.adam.zero_grad()
            self.device_loss(x, y, self.preference(), d).backward()
            gradients.append(self.unit_gradient())
        for parameter, update in zip(self.hypernet.parameters(), classic_combination(gradients), strict=True):
            parameter.grad = update
        self.adam.step()

    def device_loss(self, x: Tensor, y: Tensor, r: Tensor, d: Tensor) -> Tensor:
        """ℓ of one device, a scalar."""
        sample = self.sample(r, d)
        return r[0] * self.supernet(x, sample, y) + r[1] * self.costs(sample, d)[0]

    def unit_gradient(self) -> list[Tensor]:
        """The gradient of Φ per parameter, divided by the norm of the whole."""
        gradients = [parameter.grad.clone() for parameter in self.hypernet.parameters()]
        norm = torch.sqrt(sum(gradient.square().sum() for gradient in gradients))
        return [gradient / norm for gradient in gradients]

    def weight_step(self) -> None:
        """One update of w."""
        x, y = next(self.train)
        self.sgd.zero_grad()
        for d in self.d:
            with torch.no_grad():
                sample = self.sample(self.preference(), d)
            self.supernet(x, sample, y).backward()
        for parameter in self.supernet.parameters():
            if parameter.grad is not None:
                parameter.grad /= len(self.d)
        nn.utils.clip_grad_norm_(self.supernet.parameters(), self.gradient_clip)
        self.sgd.step()

    def preference(self) -> Tensor:
        """r [2] from Dirichlet(1, 1)."""
        first = torch.rand((), device=self.d.device)
        return torch.stack([first, 1 - first])
