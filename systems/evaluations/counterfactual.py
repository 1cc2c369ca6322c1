"""The evaluations of causal systems: counterfactuals beside the truth, the strength of guidance, disentanglement."""

import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from core.tables import choose
from data.structure import Structure
from evaluation.metrics.psnr import psnr_db
from evaluation.rounds import Task
from evaluation.tasks.counterfactual import Compared, counterfactual_task
from evaluation.tasks.disentanglement import Represented, disentanglement_task
from evaluation.tasks.strength import strength_task
from systems.abduction import Abducted, abducted, decoded, predicted, random_noise
from systems.evaluations.reconstruction import first_of
from systems.requests.base import to_network
from systems.requests.measurements import values_of
from training.objectives.base import Variables

if TYPE_CHECKING:  # the system has a table of its evaluations
    from systems.causal_diffae import CausalDiffAE

MODEL, UNTOUCHED = "model", "no_intervention"
ABLATIONS = {
    "no_propagation": "the descendants keep their latents",
    "no_abduction": "random noise in place of that of the example",
    "label_conditional": "random noise, and the true labels of the counterfactual in place of latents",
}


class Comparison:
    """Counterfactuals of the test examples by a checkpoint, and what is measured of them.

    Attributes are measured by the structure of the data where it is known, otherwise by the encoder.
    """

    def __init__(self, system: "CausalDiffAE", number: int, variables: Variables | None):
        settings, graph = system.config.eval, system.causal.graph
        for name in settings.interventions:
            choose("eval.interventions", name, dict.fromkeys(graph.names))
        for name in settings.ablations:
            choose("eval.ablations", name, ABLATIONS)
        self.system, self.number, self.given = system, number, variables
        self.test = first_of(system.context.splits.test, settings.num_examples)
        causes = [name for i, name in enumerate(graph.names) if graph.descendants(i)]
        self.targets = tuple(settings.interventions) or tuple(causes) or graph.names
        self.methods = (MODEL, UNTOUCHED, *settings.ablations)
        self.structure = self._structure()

    def _structure(self) -> Structure | None:
        """The truth about the data; None where it is not known. Errors: ValueError for an ablation that needs it."""
        found = self.test.structure
        if found is None and "label_conditional" in self.methods:
            raise ValueError(
                "config.eval.ablations has 'label_conditional', which needs data whose counterfactuals are known, such "
                f"as pendulum; {self.system.config.data.dataset} has none: leave it out."
            )
        return found

    @property
    def measures(self) -> tuple[str, ...]:
        """What is measured of each method."""
        return ("effect", "descendants", "nuisance", "psnr") if self.structure else ("effect",)

    @property
    def variables(self) -> Variables:
        """Those of the checkpoint; only rounds use them."""
        assert self.given is not None
        return self.given

    @functools.cached_property
    def scales(self) -> dict[str, float]:
        """The standard deviation of each field: of labels in training, of nuisances in these test examples."""
        stds = jax.device_get(self.variables["labels"])["std"]
        found = dict(zip(self.system.causal.graph.names, map(float, stds), strict=True))
        if self.structure:
            batch = self.test.fetch(np.arange(len(self.test)))
            found |= {name: max(float(np.std(batch[name])), 1e-12) for name in self.structure.nuisances}
        return found

    def value(self, target: str, index: np.ndarray) -> np.ndarray:
        """What is set: uniform in the range of the training labels, from the number of the example [B]."""
        labels, i = jax.device_get(self.variables["labels"]), self.system.causal.graph.names.index(target)
        seeds = [[self.system.config.seed, i, int(k)] for k in index]
        drawn = np.array([np.random.default_rng(seed).uniform() for seed in seeds])
        return labels["low"][i] + drawn * (labels["high"][i] - labels["low"][i])

    def attributes(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """What is measured of examples, values of the data [B, ...]."""
        if self.structure:
            return self.structure.measure(x)
        system, variables = self.system, self.variables
        return system.attributes(variables, system.propagate(variables, system.abduct(variables, jnp.asarray(x)), None))

    def psnr(self, x: np.ndarray, truth: np.ndarray) -> np.ndarray:
        """In dB, [B], of values of the data."""
        system = self.system
        a, b = (values_of(system, to_network(system, each)) for each in (x, truth))
        return psnr_db(a, b, None if system.spec.num_levels else float(np.ptp(b)))

    def answers(self, batch: Mapping[str, Any], given: Abducted, do: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The counterfactual [B, ...] of each method for an intervention."""
        system, variables = self.system, self.variables
        z = predicted(system, variables, given, do)
        found = {MODEL: decoded(system, variables, given.noise, z), UNTOUCHED: np.asarray(batch["x"])}
        random = random_noise(system, self.number, np.asarray(batch["index"]))
        for method in self.methods[2:]:
            latents, noise = z, random
            if method == "no_propagation":
                latents, noise = predicted(system, variables, given, do, propagate=False), given.noise
            elif method == "label_conditional":
                assert self.structure is not None
                labels, _ = system.causal.standardized(variables["labels"], self.structure.counterfactual(batch, do))
                latents = np.broadcast_to(np.asarray(labels)[..., None], z.shape)
            found[method] = decoded(system, variables, noise, latents)
        return found

    def figures(self, batch: Mapping[str, Any], target: str, do: np.ndarray, x: np.ndarray) -> dict[str, np.ndarray]:
        """The measures [B] of counterfactuals x of one intervention."""
        graph, found = self.system.causal.graph, self.attributes(x)
        figures = {"effect": np.abs(found[target] - do) / self.scales[target]}
        if self.structure is None:
            return figures
        truth = self.structure.counterfactual(batch, {target: do})
        below = [graph.names[i] for i in graph.descendants(graph.names.index(target))]

        def error(names: Sequence[str]) -> np.ndarray:
            return np.mean([np.abs(found[name] - truth[name]) / self.scales[name] for name in names], axis=0)

        figures |= {"descendants": error(below)} if below else {}
        return figures | {"nuisance": error(self.structure.nuisances), "psnr": self.psnr(x, truth["x"])}

    def compare(self, batch: dict[str, Any]) -> Compared:
        """All figures of a batch."""
        system, variables, x = self.system, self.variables, np.asarray(batch["x"])
        given = abducted(system, variables, x)
        alone = {"null_psnr": self.psnr(decoded(system, variables, given.noise, given.z), x)}
        figures, undone, own = {}, [], system.attributes(variables, given.z)
        for target in self.targets:
            do = self.value(target, np.asarray(batch["index"]))
            answers = self.answers(batch, given, {target: do})
            for method, answer in answers.items():
                for measure, values in self.figures(batch, target, do, answer).items():
                    figures[target, method, measure] = values
            after = abducted(system, variables, answers[MODEL])
            back = predicted(system, variables, after, {target: own[target]})
            undone.append(self.psnr(decoded(system, variables, after.noise, back), x))
        return Compared(figures, alone | {"reversed_psnr": np.mean(undone, axis=0)})

    def slopes(self, batch: dict[str, Any], strength: float) -> np.ndarray:
        """(measured change) (change asked for) and (change asked for)^2, sums over interventions, [B, 2]."""
        system, variables, x = self.system, self.variables, np.asarray(batch["x"])
        given, before = abducted(system, variables, x, strength), self.attributes(x)
        total = np.zeros((len(x), 2))
        for target in self.targets:
            do = self.value(target, np.asarray(batch["index"]))
            answer = decoded(
                system, variables, given.noise, predicted(system, variables, given, {target: do}), strength
            )
            asked = (do - before[target]) / self.scales[target]
            change = (self.attributes(answer)[target] - before[target]) / self.scales[target]
            total += np.stack([change * asked, asked**2], axis=1)
        return total


def counterfactual(system: "CausalDiffAE", number: int, variables: Variables | None) -> Task:
    """Effect, descendants, nuisances and PSNR of interventions on test examples, with ablations; null interventions.

    Errors: ValueError for settings that do not fit.
    """
    _ = system.flow
    found = Comparison(system, number, variables)
    batches = system.batches(found.test)
    return counterfactual_task(*batches, found.compare, found.targets, found.methods, found.measures)


def strength(system: "CausalDiffAE", number: int, variables: Variables | None) -> Task:
    """The share of the change asked for that is measured, at each strength of guidance."""
    _ = system.flow
    found = Comparison(system, number, variables)
    return strength_task(*system.batches(found.test), found.slopes, system.config.eval.strengths)


def disentanglement(system: "CausalDiffAE", number: int, variables: Variables | None) -> Task:
    """DCI of the latents z, as the encoder infers them, and the variables of the test examples."""
    graph = system.causal.graph

    def represent(batch: dict[str, Any]) -> Represented:
        assert variables is not None
        z = system.propagate(variables, system.abduct(variables, jnp.asarray(batch["x"])), None)
        factors, known = system.causal.standardized(variables["labels"], batch)
        return Represented(np.asarray(z.mean(axis=2)), np.asarray(factors), np.asarray(known.all(axis=1)))

    return disentanglement_task(*system.batches(system.context.splits.test), represent, graph.names)
