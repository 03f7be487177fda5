"""The bilevel search: alternating updates of the hypernetwork Φ and the supernet's weights w.

One Φ step, with T devices at once:
    r ~ Dirichlet(β), logits = Φ(r, d), sample = architect(logits),
    L = (task loss of the samples, metapredictor(sample, d)), ℓ = scalarize(L, r),
    c = ∂ℓ/∂logits, per-device gradients, their min-norm weights γ, Φ ← Φ − ξ Σ γ_t g_t.
One w step: the mean over devices of the task loss of freshly drawn architectures on a training minibatch.

Phases: warm-up (w alone), the bilevel search (a Φ step, then a w step), and refinement (Φ alone, see `refine`). Where
the task objective is a surrogate there is no w, and its steps are left out; so they are where w stands still.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from modnas_fast.config import Config
from modnas_fast.devices import Device, embeddings
from modnas_fast.method.architect import ReinMax, make_architect, samples_per_device
from modnas_fast.method.metahypernet import logits_on_host, make_metahypernet
from modnas_fast.method.objectives import ERROR_FLOOR, ObjectiveScale
from modnas_fast.method.preferences import make_preferences
from modnas_fast.method.region import Region
from modnas_fast.method.scalarize import make_scalarization
from modnas_fast.mgd import Combination, descend, device_groups
from modnas_fast.mgd.schemes import make_scheme
from modnas_fast.predictors.metapredictor import CostModel
from modnas_fast.runtime.optimizers import cosine_decay, set_learning_rate
from modnas_fast.runtime.placement import to_device, to_host
from modnas_fast.search.evaluator import Evaluator
from modnas_fast.search.focus import LOOK_EVERY, Focus
from modnas_fast.search.history import History
from modnas_fast.search.refine import FIRST_NETWORKS, Archive, Refinement, at_once
from modnas_fast.search.shrinking import Shrinking
from modnas_fast.search.spread import CostSpread, ends_of
from modnas_fast.spaces import SearchSpace
from modnas_fast.tasks.task_objective import TaskObjective

#: random networks that show the range of the task loss
CALIBRATION_NETWORKS = 24
#: networks that show the range of the costs, all of a small space, and among which those that w is trained on are drawn
CANDIDATES = 20_000
#: of the networks of an archive, one in so many is random at first where it cannot hold all of the space
FIRST_PART = 4
#: its row among the networks that w is trained on
LARGEST = 0
#: larger than any scaled loss of a network that works
CUT_PENALTY = 10.0


class Search:
    """The state of one search, advanced by `step()`.

    Args:
        config: the run's configuration.
        space: the search space.
        objective: the task loss of samples.
        devices: the T search devices.
        costs: frozen; the C further objectives.
        measured: costs [T, C] by architecture string, in the devices' normalised ranges, that the refinement takes
            in place of predictions.
        regions: of the fronts of each device that count more, in units of quality and normalised costs; none: all do.

    On the CPU, the same arguments on one machine and thread count give the same result bit for bit. Random numbers come
    from generators of the search's own there, seeded by `config.seed`, and are the same whatever computes.

    Steps compute on the device of the objective. On a GPU, those of the first two phases wait for it only where they
    log or look at the range of the task loss; the archive of the refinement is kept on the CPU.
    """

    def __init__(
        self,
        config: Config,
        space: SearchSpace,
        objective: TaskObjective,
        devices: Sequence[Device],
        costs: CostModel,
        measured: Mapping[str, Tensor] | None = None,
        regions: Sequence[Sequence[Region]] = (),
    ) -> None:
        self._config = config
        self._space = space
        self._objective = objective
        self._device = objective.device
        self._costs = copy.deepcopy(costs)  # the refinement's stays on the CPU
        self._d = embeddings(devices)
        self._num_objectives = 1 + len(costs.predictors)
        self._generator = torch.Generator().manual_seed(config.seed)
        self.hypernet = initial_hypernet(config, space, self._d.shape[1], self._num_objectives)
        self._architect = make_architect(
            config.architect.kind,
            space.group_sizes,
            config.architect.temperature,
            tau_max=config.architect.tau_max,
            tau_min=config.architect.tau_min,
            options=config.architect.options,
        )
        self._num_samples = samples_per_device(self._architect, config.architect.samples)
        self._sampler = ReinMax(space.group_sizes)  # hard samples for the refinement, whatever the estimator
        self._preferences = self._make_preferences(regions)
        self._scheme = make_scheme(config.mgd.scheme, config.mgd.options)
        self._scalarize = make_scalarization(config.scalarization.kind, **config.scalarization.parameters())
        candidates = space.candidates(CANDIDATES, self._generator)
        candidate_costs = costs.on_devices(candidates, self._d)
        self._spread = CostSpread(candidates, candidate_costs[..., 0].mean(dim=1))
        #: networks that every step of w trains
        self._ends = ends_of(space) if config.search.sandwich else None
        shares = config.search.shrinking
        self._shrinking = None if shares is None else Shrinking(space, shares)
        options = config.scalarization
        self._scale = ObjectiveScale(candidate_costs, options.normalize, tail=options.task_tail)
        self._refinement = self._make_refinement(costs, candidate_costs, measured)
        self._place()
        self._hyper_optimizer = torch.optim.Adam(
            self.hypernet.parameters(),
            lr=config.search.hyper_learning_rate,
            betas=config.search.hyper_betas,
            weight_decay=config.search.hyper_weight_decay,
        )
        self.history = History([device.name for device in devices])
        self.finished_steps = 0

    def _place(self) -> None:
        """Moves what the bilevel steps compute with; random numbers and the refinement's archive stay on the CPU."""
        self._d = self._d.to(self._device)
        self._scale.to_(self._device)
        for module in (self.hypernet, self._costs):
            module.to(self._device)

    def _make_preferences(self, regions: Sequence[Sequence[Region]]) -> Focus:
        options = self._config.preferences
        base = make_preferences(options.kind, self._num_objectives, options.parameters())
        share = options.focus if options.focused else 0.0
        return Focus(base, share, regions or [()] * len(self._d), options.adaptive, self._num_objectives)

    @torch.no_grad()
    def _look(self) -> None:
        """Lets the preferences see what is answered to many of them, by what is known best."""
        r = self._preferences.candidates(self._generator)
        if len(self.archive):
            answers = self._refinement.best_known(r)
        else:
            answers = torch.stack([self._answered(r, d) for d in self._d])
        self._preferences.look(r, answers)

    def _answered(self, r: Tensor, d: Tensor) -> Tensor:
        """Objectives [K, M] of the hypernetwork's answers to preferences [K, M] on a device; qualities are NaN."""
        d = d.expand(len(r), -1)
        chosen = self._space.canonical(self._space.viable_mode(logits_on_host(self.hypernet, r, d)))
        costs = self._costs(self._to_device(chosen), d).cpu()
        return torch.cat([torch.full_like(costs[:, :1], float("nan")), costs], dim=-1)

    def _to_device(self, tensor: Tensor) -> Tensor:
        return to_device(tensor, self._device)

    def _make_refinement(
        self, costs: CostModel, candidate_costs: Tensor, measured: Mapping[str, Tensor] | None
    ) -> Refinement:
        """It begins with random networks; with all of a space that is enumerated where an error costs next to nothing.

        Else most of its room is for what mutations find.
        """
        options, most = self._config.scalarization, self._config.search.refine_networks
        if self._objective.trains:
            first = self._space.sample(max(1, min(FIRST_NETWORKS, most // FIRST_PART)), self._generator)
        else:
            enumerated = self._space.num_architectures <= most
            first = self._space.candidates(most if enumerated else most // FIRST_PART, self._generator)
            most = min(most, len(first)) if enumerated else most
        evaluator = Evaluator(self._space, self._objective.errors, costs)
        return Refinement(
            self._space,
            Archive(self._space, evaluator, costs, self._d, measured or {}, most, self._objective.whole),
            self._scalarize,
            ObjectiveScale(candidate_costs, options.normalize, ERROR_FLOOR, options.task_tail),
            self._objective.chance_error / self._objective.whole,
            first,
            at_once(most - len(first), self._config.search.refine_steps) if self._objective.trains else None,
        )

    @property
    def archive(self) -> Archive:
        """Networks whose quality the refinement computed."""
        return self._refinement.archive

    @property
    def total_steps(self) -> int:
        """Steps of warm-up, bilevel search and refinement."""
        return self._config.search.warmup + self._config.search.steps + self._config.search.refine_steps

    @property
    def log_every(self) -> int:
        """Steps between entries of the history."""
        return self._config.search.log_every

    @property
    def done(self) -> bool:
        """Whether all steps have been made."""
        return self.finished_steps >= self.total_steps

    @property
    def _phi_steps(self) -> int:
        """Steps of Φ made; negative in the warm-up."""
        return self.finished_steps - self._config.search.warmup

    @property
    def evaluation_due(self) -> bool:
        """Whether the step just made is one of the `search.evaluations` evenly spaced ones, the last included."""
        made, count = self._phi_steps, self._config.search.evaluations
        steps = self.total_steps - self._config.search.warmup
        return made > 0 and steps > 0 and made * count // steps > (made - 1) * count // steps

    def step(self) -> None:
        """One step of the phase that is due."""
        options, phi_step = self._config.search, self._phi_steps
        if self._config.preferences.focused and phi_step >= 0 and phi_step % LOOK_EVERY == 0:
            self._look()
        if phi_step < 0:
            self._weight_step(spread_share=1.0)
        elif phi_step < options.steps:
            self._architect.set_progress(phi_step / options.steps)
            if self._scale.enabled and phi_step % options.calibrate_every == 0:
                self._calibrate()
            self._hyper_step(log=phi_step % options.log_every == 0)
            self._weight_step(options.spread_share)
        else:
            self._refine_step()
        self.finished_steps += 1

    def _hyper_step(self, log: bool) -> None:
        self._objective.new_batch()
        for group in self._device_groups():
            chosen = self._to_device(group)
            d = self._d[chosen]
            r = self._to_device(self._preferences.draw(group, self._generator))
            logits = self.hypernet(r, d)
            leaf = logits.detach().requires_grad_()
            task_loss, cost, loss = self._devices_loss(leaf, r, chosen)
            loss = loss - self._entropy_weight() * self._architect.entropy(leaf)
            (cotangents,) = torch.autograd.grad(loss.sum(), leaf)
            combination = self._descend(logits, cotangents, r, d)
        if log and len(group) == self._devices_at_once:
            self._log(group, task_loss, cost, combination)

    def _refine_step(self) -> None:
        """Raises the probability of the best networks known for random preferences of every device."""
        options = self._config.search
        done = (self._phi_steps - options.steps) / options.refine_steps
        set_learning_rate(self._hyper_optimizer, cosine_decay(options.hyper_learning_rate, 0.0, done))
        for chosen in self._device_groups():
            d = self._d[self._to_device(chosen)][:, None].expand(-1, options.refine_preferences, -1)  # [t, R, E]
            drawn = [self._preferences.draw(chosen, self._generator) for _ in range(options.refine_preferences)]
            preferences = torch.stack(drawn, dim=1)  # [t, R, M]
            r = self._to_device(preferences)
            logits = self.hypernet(r, d)  # [t, R, N]
            samples = self._sampler(logits.detach(), generator=self._generator).cpu()
            elites = self._to_device(self._refinement.elites(samples, preferences, chosen, self._generator))
            leaf = logits.detach().requires_grad_()
            loss = -(elites * self._sampler.log_probabilities(leaf)).sum(-1).mean(-1)
            (cotangents,) = torch.autograd.grad(loss.sum(), leaf)
            combination = self._descend(logits, cotangents, r, d)
        if len(chosen) == self._devices_at_once and (self._phi_steps - options.steps) % options.log_every == 0:
            weights, cosine = _conflict(*to_host(combination.weights, combination.cosines))
            row = self._on_all(chosen, weights, 0.0)
            entry = {"step": self.finished_steps, "mgd_weights": row, "gradient_cosine": cosine}
            self.history.refinement.append(entry)

    @property
    def _devices_at_once(self) -> int:
        """Devices whose gradients are combined in a step where an update is one for all of them."""
        return min(len(self._d), self._config.search.devices_per_step or len(self._d))

    def _device_groups(self) -> list[Tensor]:
        """Devices of each update of a step, as index tensors; where there are more than at once, of some of them."""
        count = self._devices_at_once
        groups = device_groups(self._scheme, count, self._generator)
        if count == len(self._d):
            return groups
        some = self._some_devices()
        return [some[group] for group in groups]

    def _some_devices(self) -> Tensor:
        """As many as are taken at once, drawn without replacement, in rising order."""
        return torch.randperm(len(self._d), generator=self._generator)[: self._devices_at_once].sort().values

    def _on_all(self, chosen: Tensor, values: Sequence[Any], others: Any) -> list[Any]:
        """Values of the chosen devices among those of all, `others` for the rest."""
        if len(values) == len(self._d):
            return list(values)
        row = [others] * len(self._d)
        for device, value in zip(chosen.tolist(), values, strict=True):
            row[device] = value
        return row

    def _descend(self, logits: Tensor, cotangents: Tensor, r: Tensor, d: Tensor) -> Combination:
        """One update of Φ from ∂ℓ_t/∂logits_t of the devices."""
        self._hyper_optimizer.zero_grad(set_to_none=True)
        normalize = self._config.mgd.normalize
        combination = descend(self.hypernet, logits, cotangents, (r, d), self._scheme, normalize)
        self._hyper_optimizer.step()
        return combination

    def _devices_loss(self, logits: Tensor, r: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Per device: task loss [t] and costs [t, C] of its samples, and ℓ [t] with its gradient by the logits."""
        count, devices = self._num_samples, len(logits)
        own = self._architect(logits.expand(count, *logits.shape), generator=self._generator)  # [K, t, N]
        # where samples are shared, all S = K·t of them meet each device's costs and preference: [S, 1, N]
        samples = own.flatten(0, 1)[:, None] if self._architect.shares_samples else own
        with torch.set_grad_enabled(own.requires_grad):
            task_loss = self._objective.loss(own.flatten(0, 1), self._hard).view(samples.shape[:2])
            cost = self._costs(samples, self._d[chosen])  # [S or K, t, C]
            losses = self._scale(task_loss.expand(cost.shape[:2]), cost, chosen)
            scalarized = self._scalarize(losses, r.expand(len(cost), *r.shape)) + self._cut_penalty(samples)
        if self._architect.shares_samples:
            loss = self._architect.surrogate(scalarized, samples[:, 0], logits)
            cost = cost.view(count, devices, devices, -1).diagonal(dim1=1, dim2=2).mT
        else:
            loss = self._architect.surrogate(scalarized, samples, logits)
        return task_loss.detach().view(count, devices).mean(0), cost.detach().mean(0), loss

    @property
    def _hard(self) -> bool | None:
        """Whether the architect's samples are one-hots, where that is known: soft ones may be by chance."""
        return self._architect.hard or None

    def _entropy_weight(self) -> float:
        """Geometric from the first to the last weight over the search."""
        first, last = self._config.architect.entropy_start, self._config.architect.entropy_end
        return 0.0 if first == 0 else first * (last / first) ** (self._phi_steps / self._config.search.steps)

    def _cut_penalty(self, sample: Tensor) -> Tensor:
        """[...]: what is added to ℓ of a network whose output does not depend on its input, whatever the preference.

        Behind batch normalisation the gradient of the task loss does not tell that removing a node's last input is
        fatal, nor how a cut network comes alive again; the space knows both exactly.
        """
        if not self._config.search.viability:
            return torch.zeros_like(sample[..., 0])
        return CUT_PENALTY * (1 - self._space.viable(sample))

    @torch.no_grad()
    def _calibrate(self) -> None:
        """Lets the scale of the objectives see uniformly random networks on a validation minibatch."""
        self._objective.new_batch()
        sample = self._to_device(self._space.sample(CALIBRATION_NETWORKS, self._generator))
        self._scale.observe(self._objective.loss(sample, True).cpu(), self._objective.chance_loss)

    def _weight_step(self, spread_share: float) -> None:
        if not (self._objective.trains and self._config.search.train_weights):
            return
        with torch.no_grad():
            chosen = torch.arange(len(self._d))
            if self._devices_at_once < len(self._d):
                chosen = self._some_devices()
            r = self._preferences.draw(chosen, self._generator)
            logits = self.hypernet(self._to_device(r), self._d[self._to_device(chosen)])
            sample = self._architect(logits, generator=self._generator)
            spread = torch.rand(len(sample), 1, generator=self._generator) < spread_share
            even = self._spread.sample(len(sample), self._generator)
            sample = torch.where(self._to_device(spread), self._to_device(even), sample)
            if self._ends is not None:  # on a CPU, workers that share them out end together: the longest first
                smallest, largest = self._to_device(self._ends).split(1)
                sample = torch.cat([largest, sample[: max(1, len(sample) - 2)], smallest])
            if self._shrinking is not None and self._phi_steps < 0:
                sample = self._shrinking.restricted(sample, self.finished_steps / self._config.search.warmup)
        hard = True if spread_share == 1 else self._hard
        share = self.finished_steps / (self._config.search.warmup + self._config.search.steps)
        told = {"teacher": LARGEST} if self._config.search.distillation else {}
        self._objective.train_step(sample, share, hard, **told)

    def _log(self, chosen: Tensor, task_loss: Tensor, cost: Tensor, combination: Combination) -> None:
        history = self.history
        task_loss, cost, *conflict = to_host(task_loss, cost, combination.weights, combination.cosines)
        weights, cosine = _conflict(*conflict)
        history.step.append(self.finished_steps)
        history.task_loss.append(self._on_all(chosen, task_loss.tolist(), None))
        history.costs.append(self._on_all(chosen, cost.tolist(), [None] * (self._num_objectives - 1)))
        history.mgd_weights.append(self._on_all(chosen, weights, 0.0))
        history.gradient_cosine.append(cosine)
        history.learning_rate_w.append(self._objective.learning_rate)

    def state_dict(self) -> dict[str, Any]:
        """Everything that `load_state_dict` needs to continue exactly here."""
        return {
            "finished_steps": self.finished_steps,
            "objective": self._objective.state_dict(),
            "hypernet": self.hypernet.state_dict(),
            "hyper_optimizer": self._hyper_optimizer.state_dict(),
            "generator": self._generator.get_state(),
            "scale": self._scale.state_dict(),
            "refinement": self._refinement.state_dict(),
            "preferences": self._preferences.state_dict(),
            "history": self.history.to_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues where `state` was taken."""
        self.finished_steps = state["finished_steps"]
        self._objective.load_state_dict(state["objective"])
        self.hypernet.load_state_dict(state["hypernet"])
        self._hyper_optimizer.load_state_dict(state["hyper_optimizer"])
        self._generator.set_state(state["generator"])
        self._scale.load_state_dict(state["scale"])
        self._refinement.load_state_dict(state["refinement"])
        if "preferences" in state:  # earlier versions had none to look back at
            self._preferences.load_state_dict(state["preferences"])
        self.history = History(**state["history"])


def _conflict(weights: Tensor, cosines: Tensor) -> tuple[list[float], float | None]:
    """γ [T] of the devices as a list, and the mean of their cosines [T, T] over pairs; None for a single one."""
    devices = len(weights)
    pairs = cosines[~torch.eye(devices, dtype=torch.bool)]
    return weights.tolist(), float(pairs.mean()) if devices > 1 else None


def initial_hypernet(config: Config, space: SearchSpace, embedding_width: int, num_objectives: int = 2) -> nn.Module:
    """The MetaHypernetwork of a run with weights drawn from the run's seed."""
    return make_metahypernet(
        num_options=space.num_options,
        num_objectives=num_objectives,
        embedding_width=embedding_width,
        generator=torch.Generator().manual_seed(config.seed + 3),
        **config.hypernetwork.model_dump(),
    )
