"""The teacher of average velocities: a trained model of flow matching, whose velocities do not change."""

from ml_collections import ConfigDict

from builders.earlier import EarlierRun
from builders.few_steps import SCORE_MATCHING
from builders.score import make_predict_of
from builders.shape import data_shape
from core.arrays import Array
from corruption.predictions import Predict
from training.frozen import FROZEN
from training.objectives.average_velocity import TeacherOf, Velocity
from training.objectives.base import Batch, Variables

TEACHER = "teacher"  # the name of the stage


def stages(config: ConfigDict) -> tuple[str, ...]:
    """The earlier stage that training needs: the teacher, where velocities are those of another model."""
    has_velocity = config.training.objective not in (SCORE_MATCHING, "shortcut")
    return (TEACHER,) if has_velocity and config.training.velocity == TEACHER else ()


def make_teacher(config: ConfigDict, stage: EarlierRun | None) -> TeacherOf | None:
    """The velocity of the run that is the stage `teacher`, guided by `training.train_guidance`; None without one.

    Errors: ValueError for a run of another path from data to noise, or of other data.
    """
    if not stages(config):
        return None
    given = "config.training.velocity = 'teacher' takes velocities from the run that config.model.stages names"
    if stage is None:
        raise ValueError(f"{given}, but a model of latent codes has none; use 'network'.")
    theirs, w = stage.config, config.training.train_guidance
    if (theirs.system, theirs.training.sde, theirs.model.second_time) != ("diffusion", "linear", False):
        raise ValueError(
            f"{given}, but that one has system = {theirs.system!r}, training.sde = {theirs.training.sde!r} and "
            f"model.second_time = {theirs.model.second_time}; name one of flow matching: 'diffusion', 'linear', False."
        )
    found, expected = ((data_shape(c), c.data.centered, c.data.offset, c.data.scale) for c in (theirs, config))
    if found != expected:
        raise ValueError(
            f"{given}, but that one has the shape, data.centered, offset and scale {found}, and this one {expected}; "
            "name a run on the same data."
        )
    predict_of = make_predict_of(theirs)

    def teacher(variables: Variables, batch: Batch) -> Velocity:
        params = variables[FROZEN][TEACHER]["params"]
        v = _velocity(predict_of(params, batch, None))
        if w == 1:
            return v
        free = _velocity(predict_of(params, {name: x for name, x in batch.items() if name != "label"}, None))
        return lambda x, t: w * v(x, t) + (1 - w) * free(x, t)

    return teacher


def _velocity(predict: Predict) -> Velocity:
    """`noise - x0`."""

    def v(x: Array, t: Array) -> Array:
        x0, noise = predict(x, t)
        return noise - x0

    return v
