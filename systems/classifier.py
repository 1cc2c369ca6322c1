"""A classifier of noisy data, for guidance and as features of metrics."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax

from builders.features import clean_classifier
from builders.network import check_outputs
from builders.objective import make_classifier_objective
from builders.score import working_params
from core.arrays import Array
from evaluation.rounds import Task
from evaluation.tasks.measured import measured_task
from systems.base import Context, Evaluation, System
from training.objectives.base import Batch, Params, Variables


class Classifier(System):
    """A network that predicts class labels from noisy data; it has a loss, but neither samples nor a likelihood."""

    def __init__(self, context: Context):
        check_outputs(context.config, "classes")
        super().__init__(context)
        self.objective = make_classifier_objective(
            context.config, context.spec.num_levels, context.devices.gather_params
        )
        for key in ("training.snapshot_sampling", "eval.enable_bpd", "eval.enable_sampling"):
            section, name = key.split(".")
            if context.config[section][name]:
                raise ValueError(
                    f"config.{key} = True, but config.system = 'classifier' has no samples and no likelihood; "
                    "set it to False."
                )

    def working_params(self, params: Params) -> Params:
        """In the type that the network computes in."""
        return working_params(self.config, params)

    @property
    def enabled(self) -> tuple[str, ...]:
        """The loss, where `eval.tasks` names it or is empty and `eval.enable_loss` is on."""
        settings = self.config.eval
        return tuple(settings.tasks) or (("loss",) if settings.enable_loss else ())

    @property
    def subject(self) -> tuple[str, ...]:
        """Data, network and the SDE of the noise."""
        return self.config.data.dataset, self.config.model.name, self.config.training.sde

    @property
    def evaluations(self) -> Mapping[str, Evaluation]:
        """The loss, and the accuracy for clean examples."""
        return {"loss": self.loss_task, "accuracy": self.accuracy_task}

    @functools.cached_property
    def logits(self) -> Callable[[Variables, Batch], Array]:
        """`(variables, batch) -> [B, K]`: the logits of clean examples, compiled."""
        apply = clean_classifier(self.config, self.spec.num_levels)
        return jax.jit(lambda variables, batch: apply(variables["params"], batch["x"])["logits"])

    def accuracy_task(self, number: int, variables: Variables) -> Task:
        """How many test examples are classified right."""

        def predict(batch: dict[str, Any]) -> dict[str, Any]:
            return {"logits": self.logits(variables, self.on_devices(batch)), "labels": batch["label"]}

        return measured_task("accuracy", *self.batches(self.context.splits.test), predict, ("accuracy",))
