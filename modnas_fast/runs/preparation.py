"""What a search starts from: costs of some networks, predictors trained on them, and the task objective.

What the search may know is counted: the costs of `devices.networks` networks per search device, the true qualities of
`task.queries` networks for all devices together (a surrogate's; a supernet reads none), and of an unseen device the ten
reference networks. Whatever else a table knows serves the score alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from modnas_fast.config import Config
from modnas_fast.devices import Device, embeddings
from modnas_fast.devices.analytic import AnalyticCost
from modnas_fast.devices.cost_source import CostSource
from modnas_fast.evaluation.fronts import front_membership
from modnas_fast.method.region import Region, emphasis
from modnas_fast.predictors.make import make_cost_model, train_cost_model
from modnas_fast.predictors.metapredictor import CostModel, MetaPredictor, train_metapredictor
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.objective import whole
from modnas_fast.runtime.progress import Reporter, Silent
from modnas_fast.search.spread import CostSpread
from modnas_fast.spaces.published import Truth
from modnas_fast.tasks.surrogate import CountedTruth, Emphasis, Regression, SurrogateObjective, make_fit, query
from modnas_fast.tasks.surrogate_anywhere import query_anywhere
from modnas_fast.tasks.task_objective import TaskObjective

#: share of the networks measured first that are drawn uniformly as they are written; the others are spread over costs
UNIFORM_SHARE = 0.6
#: share of the networks measured that are kept for those on the predicted fronts
FRONT_SHARE = 1 / 9
#: rounds of measuring them: measurements move the fronts
FRONT_ROUNDS = 4
#: networks whose predicted costs decide which others to measure, and that queries are chosen from
CANDIDATES = 20_000
#: devices, evenly among all, whose mean cost the networks that are measured are spread over
SPREAD_DEVICES = 32


@dataclass
class Prepared:
    """What a search starts from."""

    source: CostSource
    devices: tuple[Device, ...]
    costs: CostModel
    objective: TaskObjective
    #: true qualities that were queried, by architecture string
    queried: dict[str, float]
    #: per stage
    seconds: dict[str, float]

    @property
    def search_devices(self) -> tuple[Device, ...]:
        """The devices searched."""
        return tuple(device for device in self.devices if device.split == "search")

    @property
    def measured(self) -> dict[str, Tensor]:
        """Costs [T, C] by network, in normalised ranges, that a search takes in place of predictions: a table's.

        Measurements of this machine are left out: they and predictions do not lie beside each other to the percent; and
        estimates, which were not measured.
        """
        if self.source.by_rows or "measured" in self.source.kinds.values():
            return {}
        known = self.source.known
        return dict(zip(known.texts, known.normalized(self.search_devices, known.texts)))


class Preparation:
    """Measuring, predictors and queries before a search.

    Args:
        config: `devices`, `predictor`, `task.queries` and the seed count.
        source: of the costs, begun.
        objective: the task objective; None: a surrogate of `task.queries` true qualities of `truth`.
        truth: None where none is known.
        network: gives what `space.analytic` is told of the networks.
        reporter: where progress is told.
        regions: by device, in its units, parts of fronts near which more qualities are queried; None: all are alike.

    The same arguments on one machine with one thread give the same outcome. `prepare` raises InputError where
    `devices.networks` is too few for what is measured in any case, or more than half of a table of all networks.
    """

    def __init__(
        self,
        config: Config,
        source: CostSource,
        objective: TaskObjective | None = None,
        truth: Truth | None = None,
        network: Callable[[], dict[str, Any]] = dict,
        reporter: Reporter | None = None,
        regions: Mapping[str, Sequence[Region]] | None = None,
    ) -> None:
        self._config = config
        self._source = source
        self._space = source.space
        self._objective = objective
        self._truth = truth
        self._network = network
        self._reporter: Reporter = reporter or Silent()
        self._devices = source.devices
        self._search_devices = source.search_devices
        self._d = embeddings(self._search_devices)
        self._generator = torch.Generator().manual_seed(config.seed + 4)
        self._regions = regions or {}
        self._queries = config.task.queries if objective is None else 0
        self._seconds: dict[str, float] = {}

    def prepare(self) -> Prepared:
        """Measures, trains the predictors, and queries qualities where no objective was given."""
        if self._source.limit:
            self._measure_first()
        costs = self._train_predictors("predict", "Training the metapredictor")
        queried: dict[str, float] = {}
        objective = self._objective
        if objective is None:
            objective, queried = self._query(costs)
            if self._source.limit and not self._anywhere:  # else nothing was measured for the queries
                costs = self._train_predictors("predict again", "Training the metapredictor on all measured")
        return Prepared(self._source, self._devices, costs, objective, queried, self._seconds)

    def prepared_before(
        self, load: Callable[[CostModel], None], queried: dict[str, float], seconds: dict[str, float]
    ) -> Prepared:
        """What `prepare` returned in an earlier process, to the last bit.

        Args:
            load: reads the trained weights of predictors.
            queried, seconds: see `Prepared`.
        """
        costs = self._untrained(torch.Generator())
        load(costs)
        objective = self._objective
        if objective is None:
            known = self._space.encode([self._space.parse(text) for text in queried])
            fit = make_fit(*self._config.task.chosen[1:], space=self._space)
            surrogate = fit(known, torch.tensor(list(queried.values()), dtype=torch.float64))
            objective = self._surrogate_objective(surrogate, queried)
        return Prepared(self._source, self._devices, costs.requires_grad_(False), objective, queried, seconds)

    @property
    def _known_truth(self) -> Truth:
        if self._truth is None:
            raise InputError("task.table: a surrogate needs the truth of a task, got none")
        return self._truth

    @property
    def _anywhere(self) -> bool:
        """Whether any network's quality may be asked for, also of those that no table of costs has."""
        return self._objective is None and self._known_truth.asks_judge

    def _timed(self, stage: str, since: float) -> None:
        self._seconds[stage] = time.monotonic() - since

    # ---- costs ----

    @property
    def _count(self) -> int:
        """Networks known on the search devices."""
        return len(self._source.known.on(self._search_devices[0].name))

    def _measure_first(self) -> None:
        """Networks drawn uniformly, then others spread evenly over the cost that those predict: cheap ones are rare."""
        start, count = time.monotonic(), self._first_networks()
        uniform = max(self._count, round(UNIFORM_SHARE * count))
        while self._count < uniform:
            self._source.measure(self._source.drawn(uniform - self._count, self._generator))
        spread = self._cost_spread()
        while self._count < count:
            self._source.measure(spread.sample(count - self._count, self._generator))
        self._timed("measure", start)

    def _first_networks(self) -> int:
        """Networks measured before qualities are queried: those queried and those on the fronts are measured, too."""
        total, references = self._source.limit, len(self._space.references)
        later = 0 if self._objective or self._anywhere else self._queries + round(FRONT_SHARE * total)
        most = (self._space.num_architectures if self._source.complete else len(self._source.tabulated)) // 2
        if not references + later <= total <= most:
            raise InputError(
                f"devices.networks: wanted at least {references + later}, for references, queries and fronts, and at "
                f"most {most}, half of the table; got {total}"
            )
        return total - later

    def _cost_spread(self) -> CostSpread:
        onehot, target = self._source.training_table()
        width = len(self._space.references)
        some = torch.linspace(0, len(self._d) - 1, min(len(self._d), SPREAD_DEVICES)).round().long()
        d, target = self._d[some, :width], target[:, some]
        predictor = MetaPredictor(self._space, width, generator=self._generator)
        train_metapredictor(
            predictor,
            onehot.repeat_interleave(len(d), dim=0),
            d.repeat(len(onehot), 1),
            target[..., 0].flatten(),
            steps=200,
            learning_rate=1e-2,
        )
        candidates = self._source.candidates(CANDIDATES, self._generator)
        with torch.no_grad():
            cost = predictor(candidates[:, None], d).mean(dim=1)
        return CostSpread(candidates, cost)

    def _untrained(self, generator: torch.Generator) -> CostModel:
        source = self._source
        return make_cost_model(
            self._config.predictor, self._space, source.kinds, self._network, generator, source.executes
        )

    def _train_predictors(self, stage: str, title: str) -> CostModel:
        start, options = time.monotonic(), self._config.predictor
        model = self._untrained(self._generator)
        onehot, target = self._source.training_table()
        steps = options.steps * sum(not isinstance(predictor, AnalyticCost) for predictor in model.predictors)
        with self._reporter.stage(title, max(1, steps)) as advance:
            train_cost_model(model, options, onehot, self._d, target, self._generator, advance)
        self._timed(stage, start)
        return model

    # ---- qualities ----

    def _surrogate_objective(self, surrogate: Regression, known: dict[str, float]) -> SurrogateObjective:
        truth = self._known_truth
        return SurrogateObjective(self._space, surrogate, known, truth.chance, whole(truth.quality, truth.chance))

    def _true_values(self, onehot: Tensor) -> Tensor:
        truth = self._known_truth
        if truth.asks_judge:
            assert truth.judge is not None
            return truth.judge(onehot)
        return truth.of([architecture.text for architecture in self._space.decode(onehot)])

    def _query_candidates(self) -> Tensor:
        """Networks whose quality may be asked for, canonical one-hots [n, N]: those that were trained."""
        truth = self._known_truth
        if truth.judge is None:
            return self._source.candidates(CANDIDATES, self._generator)
        rows = torch.randperm(len(truth.architectures), generator=self._generator)[:CANDIDATES].tolist()
        return self._space.encode([self._space.parse(truth.architectures[row]) for row in rows])

    def _query(self, costs: CostModel) -> tuple[SurrogateObjective, dict[str, float]]:
        """A surrogate of true qualities; a network that is queried is measured on the devices, too."""
        start, space, source = time.monotonic(), self._space, self._source
        counted = CountedTruth(space, self._true_values, self._queries)
        if self._anywhere:
            return self._query_anywhere(counted, costs), counted.known
        candidates = self._query_candidates()
        row_of = {architecture.text: row for row, architecture in enumerate(space.decode(candidates))}
        best_known = costs.on_devices(candidates, self._d)

        def known() -> Tensor:
            texts = [text for text in source.known.texts if text in row_of]
            rows, measured = [row_of[text] for text in texts], source.known.normalized(self._search_devices, texts)
            best_known[rows] = torch.where(measured.isnan(), best_known[rows], measured)
            return best_known

        def known_with_queried() -> Tensor:
            source.measure(space.encode([space.parse(text) for text in counted.known]))
            return known()

        with self._reporter.stage("Querying errors", counted.budget) as advance:
            fit = make_fit(*self._config.task.chosen[1:], space=space)
            surrogate = query(
                space, counted, candidates, known_with_queried, self._config.seed, advance, fit, self._counts
            )
        objective = self._surrogate_objective(surrogate, counted.known)
        errors = objective.errors(candidates)
        known_with_queried()
        for _ in range(FRONT_ROUNDS if source.limit else 0):
            best = front_membership(errors, known()).any(dim=1)
            source.measure(candidates[best])
        self._timed("query", start)
        return objective, counted.known

    @property
    def _counts(self) -> Emphasis | None:
        """How much places on fronts count; None where all do alike."""
        if not any(self._regions.values()):
            return None
        devices = self._search_devices
        normalized = [[region.normalized(d) for region in self._regions.get(d.name, ())] for d in devices]
        return partial(emphasis, regions=normalized, focus=self._config.preferences.focus)

    def _query_anywhere(self, counted: CountedTruth, costs: CostModel) -> SurrogateObjective:
        """The same where any network may be asked for: none of them is measured for it."""
        start, fit = time.monotonic(), make_fit(*self._config.task.chosen[1:], space=self._space)
        drawn = self._space.canonical(self._space.sample(CANDIDATES, self._generator))
        with self._reporter.stage("Querying errors", counted.budget) as advance:
            surrogate = query_anywhere(
                self._space,
                counted,
                drawn,
                lambda onehot: costs.on_devices(onehot, self._d),
                self._config.seed,
                advance,
                fit,
                self._counts,
            )
        self._timed("query", start)
        return self._surrogate_objective(surrogate, counted.known)
