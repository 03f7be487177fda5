"""Architect: a differentiable sample of a discrete architecture from the hypernetwork's logits.

An architecture is one option in each of G choice groups; logits and samples are the N = Σ n_g options side by
side. All leading axes (devices first) are one batch: nothing loops over devices or groups.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from modnas_fast.runtime.choices import ARCHITECTS
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.placement import to_device

#: comparisons of samples, S·S·T, beyond which they are sorted instead: hundreds of devices in one step
PAIRS = 1 << 26


class Groups:
    """The options axis seen as groups: `split` gives [..., G, n] with n the widest group, `join` goes back.

    Groups of one size are a reshape. Otherwise narrow groups are padded with one value, chosen by the caller.

    >>> groups = Groups([2, 3])
    >>> groups.split(torch.tensor([1., 2., 3., 4., 5.]), fill=0.0)
    tensor([[1., 2., 0.],
            [3., 4., 5.]])
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        self.sizes = tuple(_group_size(size) for size in sizes)
        if not self.sizes:
            raise ValueError("group_sizes: wanted at least one choice group, got none")
        self.num_options = sum(self.sizes)
        self.width = max(self.sizes)
        self._regular = len(set(self.sizes)) == 1
        position = torch.arange(self.width)
        self._valid = position < torch.tensor(self.sizes)[:, None]  # [G, n]
        starts = torch.tensor((0, *self.sizes[:-1])).cumsum(0)
        # A padded place points at the extra column that `split` appends behind the last option.
        self._source = torch.where(self._valid, starts[:, None] + position, self.num_options).flatten()
        self._places = self._valid.flatten().nonzero().flatten()  # [N] place of each option in [G * n]

    def split(self, values: Tensor, *, fill: float) -> Tensor:
        """[..., N] as [..., G, n]; padded places hold `fill`."""
        shape = (len(self.sizes), self.width)
        if self._regular:
            return values.unflatten(-1, shape)
        column = values.new_full((*values.shape[:-1], 1), fill)
        self._source = self._source.to(values.device)
        return torch.cat((values, column), dim=-1).index_select(-1, self._source).unflatten(-1, shape)

    def join(self, values: Tensor) -> Tensor:
        """[..., G, n] as [..., N]; padded places are dropped."""
        flat = values.flatten(-2)
        if self._regular:
            return flat
        self._places = self._places.to(values.device)
        return flat.index_select(-1, self._places)


def _group_size(size: int) -> int:
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise ValueError(f"group_sizes: wanted whole numbers of at least 1, got {size!r}")
    return size


def gumbel(noise: Tensor) -> Tensor:
    """Standard Gumbel numbers −ln(−ln u), same shape and dtype, from uniform numbers u in [0, 1].

    The two ends 0 and 1 are moved inside by the smallest step of the dtype, so every result is finite.

    >>> gumbel(torch.tensor([0.5], dtype=torch.float64))
    tensor([0.3665], dtype=torch.float64)
    """
    limits = torch.finfo(noise.dtype)
    inside = noise.clamp(limits.tiny, 1.0 - limits.eps / 2)
    return -torch.log(-torch.log(inside))


def one_hot_of_max(scores: Tensor) -> Tensor:
    """Exact 0/1 tensor with a one at the largest of the last axis; ties go to the lowest index.

    >>> one_hot_of_max(torch.tensor([1., 3., 3.]))
    tensor([0., 1., 0.])
    """
    options = torch.arange(scores.shape[-1], device=scores.device)
    return (options == scores.argmax(-1, keepdim=True)).to(scores.dtype)


def _through_softmax(cotangent: Tensor, probabilities: Tensor) -> Tensor:
    """cotangent · (diag(p) − p pᵀ): what a softmax with output p passes back, over the last axis."""
    weighted = probabilities * cotangent
    return weighted - probabilities * weighted.sum(-1, keepdim=True)


class _StraightThrough(torch.autograd.Function):
    """Forward: `hard`, bit for bit. Backward: the cotangent goes to `soft` unchanged."""

    generate_vmap_rule = True

    @staticmethod
    def forward(soft: Tensor, hard: Tensor) -> Tensor:
        return hard.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor, None]:
        return cotangent, None


class _ReinMax(torch.autograd.Function):
    """Forward: `hard`, bit for bit. Backward: the gradient of π2 = 2 π1 − ½ π0 of Algorithm 2."""

    generate_vmap_rule = True

    @staticmethod
    def forward(logits: Tensor, hard: Tensor, temperature: float) -> Tensor:
        return hard.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        logits, hard, ctx.temperature = inputs
        ctx.save_for_backward(logits, hard)

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor, None, None]:
        logits, hard = ctx.saved_tensors
        p0 = logits.softmax(-1)
        p1 = 0.5 * (hard + (logits / ctx.temperature).softmax(-1))
        return 2.0 * _through_softmax(cotangent, p1) - 0.5 * _through_softmax(cotangent, p0), None, None


class Architect(ABC):
    """A sampler of architectures: `architect(logits, noise) -> sample`, all of shape [..., N].

    `hard` tells whether every sample is an exact one-hot per group; `noisy` whether the noise matters. The
    temperature is `tau_max` at progress 0 and falls linearly to `tau_min` at progress 1.
    """

    hard: bool = False
    noisy: bool = True
    #: samples that `surrogate` needs
    min_samples: int = 1
    #: samples per device where the configuration names no number
    default_samples: int = 1
    #: whether every device learns from the samples of all devices, and from the values of losses alone
    shares_samples: bool = False

    def __init__(self, group_sizes: Sequence[int], *, tau_max: float = 1.0, tau_min: float = 1.0) -> None:
        self.groups = Groups(group_sizes)
        self.tau_max = _positive("tau_max", tau_max)
        self.tau_min = _positive("tau_min", tau_min)
        self.temperature = self.tau_max

    def set_progress(self, fraction: float) -> None:
        """Sets the temperature for a `fraction` of the search; ValueError where it is not in [0, 1]."""
        if not 0.0 <= fraction <= 1.0:
            raise ValueError(f"fraction: wanted a number in [0, 1], got {fraction!r}")
        self.temperature = (1.0 - fraction) * self.tau_max + fraction * self.tau_min

    def __call__(
        self, logits: Tensor, noise: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """A sample [..., N] in the dtype of `logits`, differentiable with respect to them.

        `noise` [..., N] is uniform in (0, 1); without it, `generator` draws it. Both are ignored where
        `noisy` is False. Float16 and bfloat16 logits are computed in float32. Raises ValueError for a wrong
        N, for noise of another shape, and where noise is needed and neither or both of the two are given;
        TypeError for logits that are not floating point.
        """
        self._check(logits)
        wide = logits if logits.dtype == torch.float64 else logits.float()
        groups = self.groups.split(wide, fill=-math.inf)
        if self.noisy:
            gumbels = self.groups.split(gumbel(self._noise(wide, noise, generator)), fill=0.0)
        else:
            gumbels = torch.zeros_like(groups)
        return self.groups.join(self._sample(groups, gumbels)).to(logits.dtype)

    def surrogate(self, loss: Tensor, samples: Tensor, logits: Tensor) -> Tensor:
        """[T]: what to differentiate by `logits` for the gradient of each device's expected loss.

        Args:
            loss: [K, T] of K independent samples per device, differentiable where the samples are.
            samples: [K, T, N] that this architect drew from `logits`.
            logits: [T, N].
        """
        return loss.mean(dim=0)

    def log_probabilities(self, logits: Tensor) -> Tensor:
        """Of every option within its group, [..., N]; those of a one-hot's options add up to its own."""
        return self.groups.join(self.groups.split(logits, fill=-math.inf).log_softmax(-1))

    def entropy(self, logits: Tensor) -> Tensor:
        """Entropy in nats of the distribution over architectures, [...]: the sum over groups."""
        log_p = self.groups.split(logits, fill=-math.inf).log_softmax(-1)
        return -(log_p.exp() * log_p.masked_fill(log_p == -math.inf, 0.0)).sum((-2, -1))

    @abstractmethod
    def _sample(self, logits: Tensor, gumbels: Tensor) -> Tensor:
        """The sample [..., G, n] of logits (−inf at padded places) and Gumbel numbers of that shape: 0 if not noisy."""

    def _check(self, logits: Tensor) -> None:
        if not logits.is_floating_point():
            raise TypeError(f"logits: wanted a floating-point tensor, got {logits.dtype}")
        if logits.dim() == 0 or logits.shape[-1] != self.groups.num_options:
            raise ValueError(
                f"logits: wanted [..., {self.groups.num_options}] for groups of "
                f"{list(self.groups.sizes)} options, got {list(logits.shape)}"
            )

    @staticmethod
    def _noise(logits: Tensor, noise: Tensor | None, generator: torch.Generator | None) -> Tensor:
        if noise is None and generator is not None:
            noise = torch.rand(logits.shape, generator=generator, device=generator.device, dtype=logits.dtype)
        elif noise is None or generator is not None:
            raise ValueError("noise, generator: wanted exactly one of them")
        if noise.shape != logits.shape:
            raise ValueError(f"noise: wanted the shape of the logits {list(logits.shape)}, got {list(noise.shape)}")
        return to_device(noise, logits.device).to(logits.dtype)


class ReinMax(Architect):
    """Exact one-hots drawn from softmax(logits), with a second-order accurate straight-through gradient.

    Liu et al. 2023, "Bridging Discrete and Backpropagation", Algorithm 2: with π0 = softmax(θ), the one-hot D
    and π1 = (D + softmax(θ/τ)) / 2, the cotangent g becomes g·(2 (diag π1 − π1 π1ᵀ) − ½ (diag π0 − π0 π0ᵀ)).
    The temperature τ acts on the gradient only; MODNAS uses 1. D is drawn by Gumbel-max where the published
    code calls torch.multinomial: the same distribution, from numbers given as a tensor.
    """

    hard = True

    def _sample(self, logits: Tensor, gumbels: Tensor) -> Tensor:
        return _ReinMax.apply(logits, one_hot_of_max(logits.detach() + gumbels), self.temperature)


class GDAS(Architect):
    """Exact one-hots drawn from softmax(logits); the gradient is that of softmax((logits + Gumbel) / τ).

    Dong & Yang 2019, "Searching for a Robust Neural Architecture in Four GPU Hours", with τ from 10 to 0.1.
    The published one_hot − p + p is rounded; here the forward value is exactly 0 or 1.
    """

    hard = True

    def _sample(self, logits: Tensor, gumbels: Tensor) -> Tensor:
        scores = logits + gumbels
        soft = (scores / self.temperature).softmax(-1)
        return _StraightThrough.apply(soft, one_hot_of_max(scores.detach()))


class LeaveOneOut(Architect):
    """Exact one-hots drawn from softmax(logits); the gradient comes from comparing samples, not through them.

    The score-function estimator with the other samples as baseline (Kool et al. 2019, "Buy 4 REINFORCE samples, get
    a baseline for free!"), each loss replaced by its rank: a sample weighs by the share of the others that it loses
    against less the share that it beats. It needs no derivative of the loss, so it sees effects that a
    linearisation does not: that a cut network is useless behind batch normalisation, or that two changes pay off
    together. Needs K ≥ 2 samples.

    The task loss of a sample is the same for every device, so all T·K samples serve all devices: with the mixture
    q = mean over devices of p_t as their distribution, sample s counts for device t by p_t(s) / q(s), normalised
    over the samples (the balance heuristic of Veach & Guibas 1995).
    """

    hard = True
    min_samples = 2
    default_samples = 4
    shares_samples = True

    def _sample(self, logits: Tensor, gumbels: Tensor) -> Tensor:
        return one_hot_of_max(logits.detach() + gumbels)

    def surrogate(self, loss: Tensor, samples: Tensor, logits: Tensor) -> Tensor:
        """[T]: per device, the weighted mean over samples of rank advantage in [−1, 1] times log-probability.

        Args:
            loss: [S, T] of S = T·K samples under each device's own preference and costs.
            samples: [S, N], K drawn from each device's logits, in any order.
            logits: [T, N].
        """
        if len(loss) < self.min_samples:
            raise ValueError(f"samples: leave_one_out wanted at least {self.min_samples}, got {len(loss)}")
        loss = loss.detach()
        log_p = samples @ self.log_probabilities(logits).mT  # [S, T]
        log_q = log_p.detach().logsumexp(dim=1, keepdim=True)
        weights = (log_p.detach() - log_q).softmax(dim=0)
        compare = compared if len(loss) * loss.numel() <= PAIRS else compared_in_order
        others = (1 - weights).clamp(min=torch.finfo(weights.dtype).eps)
        return (weights * compare(loss, weights) / others * log_p).sum(dim=0)


def compared(loss: Tensor, weights: Tensor) -> Tensor:
    """[S, T]: per column, the weights of the samples that a sample loses against less those of the ones it beats.

    A loss that is no number (NaN) is neither above nor below any other.

    Args:
        loss: [S, T], compared within each column.
        weights: [S, T], at least 0.

    >>> compared(torch.tensor([[1.0], [2.0], [2.0]]), torch.tensor([[0.2], [0.5], [0.3]])).flatten()
    tensor([-0.8000,  0.2000,  0.2000])
    """
    return (torch.sign(loss[:, None] - loss[None]) * weights).sum(dim=1)


def compared_in_order(loss: Tensor, weights: Tensor) -> Tensor:
    """As `compared`, by sorting: memory for S·T numbers instead of S·S·T."""
    own = loss.mT.contiguous()
    comparable = ~own.isnan()  # sorting takes them for the largest
    in_order, order = own.sort(dim=1)
    below = pad((weights.mT * comparable).gather(1, order).cumsum(dim=1), (1, 0))  # [T, S + 1], of the first k
    less = below.gather(1, torch.searchsorted(in_order, own))
    more = below[:, -1:] - below.gather(1, torch.searchsorted(in_order, own, right=True))
    return ((less - more) * comparable).mT


class GumbelSoftmax(Architect):
    """Points inside each group's simplex: softmax((logits + Gumbel) / τ), Jang et al. 2017, eq. 2."""

    def _sample(self, logits: Tensor, gumbels: Tensor) -> Tensor:
        return ((logits + gumbels) / self.temperature).softmax(-1)


class Softmax(Architect):
    """The mean architecture softmax(logits / τ), without noise: Liu et al. 2019 (DARTS), eq. 2."""

    noisy = False

    def _sample(self, logits: Tensor, gumbels: Tensor) -> Tensor:
        return (logits / self.temperature).softmax(-1)


def make_architect(
    kind: str,
    group_sizes: Sequence[int],
    temperature: float = 1.0,
    *,
    tau_max: float | None = None,
    tau_min: float | None = None,
    options: Mapping[str, Any] | None = None,
) -> Architect:
    """The sampler `kind` (reinmax, gdas, leave_one_out, gumbel_softmax, softmax, or one of a user's) for groups of
    `group_sizes` options.

    `temperature` > 0 is constant over the search. `tau_max` and `tau_min` > 0, given together, replace it by
    a linear schedule that `architect.set_progress` follows; gdas without them runs from 10 to 0.1, its
    paper's choice, whatever `temperature` says. `options` are keyword arguments of a user's sampler. Raises
    ValueError for an unknown kind, for group sizes below 1, for numbers not above 0, and for one end of a schedule
    without the other.

    >>> architect = make_architect("reinmax", [3, 3])
    >>> logits = torch.tensor([[2.0, 0.0, 0.0, 0.0, 0.0, 2.0]])
    >>> architect(logits, torch.full_like(logits, 0.5))
    tensor([[1., 0., 0., 0., 0., 1.]])
    >>> gdas = make_architect("gdas", [3, 3])
    >>> gdas.set_progress(0.5)
    >>> round(gdas.temperature, 2)
    5.05
    """
    make = ARCHITECTS.find(kind, options)
    if (tau_max is None) != (tau_min is None):
        raise ValueError(f"tau_max, tau_min: wanted both or neither, got {tau_max!r} and {tau_min!r}")
    _positive("temperature", temperature)
    if tau_max is None or tau_min is None:
        tau_max, tau_min = (10.0, 0.1) if kind == "gdas" else (temperature, temperature)
    architect = make(group_sizes, tau_max=tau_max, tau_min=tau_min)
    if not isinstance(architect, Architect):
        raise ARCHITECTS.fault(kind, f"gives a {type(architect).__name__}, no modnas_fast.method.architect.Architect")
    return architect


def samples_per_device(architect: Architect, samples: int | None) -> int:
    """K: `samples`, or what the architect draws where None is asked for. InputError for fewer than it needs."""
    if samples is None:
        return max(architect.default_samples, architect.min_samples)
    if samples < architect.min_samples:
        raise InputError(f"architect.samples: wanted at least {architect.min_samples}, got {samples}")
    return samples


def _positive(name: str, value: float) -> float:
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(f"{name}: wanted a finite number above 0, got {value!r}")
    return float(value)
