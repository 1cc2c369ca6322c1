"""Models of residual tokens, from a config: networks, predictions, objective, samplers and the bound."""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax.sharding import Sharding
from ml_collections import ConfigDict

from builders import guidance, network
from builders.categorical import TIME_SCALE, BitsPerDim
from builders.condition import embedding, example_condition, make_condition
from builders.earlier import LoadNetwork
from builders.network import DTYPES
from builders.objective import check_plain
from builders.process import SCHEDULES
from builders.score import GatherParams, identity
from builders.shape import data_shape
from core.arrays import Array
from core.keys import LikelihoodKey, fold_in
from core.tables import choose
from corruption import mixture, residual, terms
from corruption.depth_mask import DepthMask, IndependentTokens, SummedTokens, TokenModel, masked_counts, scales
from corruption.predictions import Categorical, Mixture
from likelihood.bound import of_levels
from likelihood.elbo import elbo
from models.blocks.activations import ACTIVATIONS
from models.heads.mixture import MixtureHead, TokenHead
from models.networks.residual_transformer import CausalTransformer, ResidualTransformer
from models.precision import converted
from sampling import categorical, grids
from sampling import residual as rounds
from sampling.ancestral import Ancestral
from sampling.loop import AnyPredict, FixedStep, Stepper
from sampling.residual import OneByOne, Rounds
from training.objectives.base import Batch, Objective, Params
from training.objectives.categorical import identity_quantile
from training.objectives.residual import WeightsOf, each_given_those_before, masked_sums
from training.objectives.score_matching import independent, stratified


class Weights(NamedTuple):
    """What predictions are made of: the parameters of the network, and the codebook [D, K, d] of the tokenizer."""

    params: Params
    vectors: Array


# (weights, batch, dropout key or None) -> predict
PredictOf = Callable[..., AnyPredict]
HEADS = ("mixture", "independent", "autoregressive")


def is_autoregressive(config: ConfigDict) -> bool:
    """Whether tokens are predicted one after the other. Errors: ValueError for an unknown head."""
    choose("resgen.head", config.resgen.head, dict.fromkeys(HEADS))
    return config.resgen.head == "autoregressive"


def make_network(config: ConfigDict, dim: int, dtype: str | None = None) -> nn.Module:
    """The transformer of `resgen.head`, for codes of `dim` numbers. Errors: ValueError for settings it cannot have."""
    model, shape, K = config.model, data_shape(config), config.model.num_categories
    choose("model.nonlinearity", model.nonlinearity, ACTIVATIONS)
    if 4 * model.nf % (2 * model.num_heads):
        raise ValueError(
            f"config.model.num_heads = {model.num_heads} heads of even size do not divide the width, four times "
            f"config.model.nf = {model.nf}; change one of them."
        )
    common: dict[str, Any] = {
        "nf": model.nf,
        "num_blocks": model.num_res_blocks,
        "num_heads": model.num_heads,
        "dropout": model.dropout,
        "embedding": embedding(config),
        "nonlinearity": model.nonlinearity,
        "remat": model.remat,
        "dtype": choose("model.dtype", dtype or model.dtype, DTYPES),
    }
    if is_autoregressive(config):
        return CausalTransformer(TokenHead(1, K), K, shape, **common)
    head: nn.Module = TokenHead(shape[-1], K)
    if config.resgen.head == "mixture":
        head = MixtureHead(config.resgen.num_components, dim, config.resgen.rank)
    return ResidualTransformer(head, shape[-1], shape[:-1], **common)


def initial_params(config: ConfigDict, dim: int, key: Array) -> Params:
    """The parameters of the network at step 0."""
    module, shape = make_network(config, dim), data_shape(config)
    time, condition = np.ones((1,), np.float32), example_condition(config)
    x = np.zeros((1, *shape), np.int32)
    if is_autoregressive(config):
        return module.init({"params": key}, x, time, condition)["params"]
    known, counts = np.zeros((1, *shape[:-1], dim), np.float32), np.zeros((1, *shape[:-1]), np.int32)
    return module.init({"params": key}, known, counts, time, condition)["params"]


def make_process(config: ConfigDict, vectors: Array) -> DepthMask:
    """The process of the schedule and the head of a config."""
    K = config.model.num_categories
    tokens: TokenModel = SummedTokens(vectors) if config.resgen.head == "mixture" else IndependentTokens(K)
    return DepthMask(K, choose("model.schedule", config.model.schedule, SCHEDULES)(config.model), tokens)


def make_predict_of(
    config: ConfigDict, dim: int, dtype: str | None = None, gather_params: GatherParams = identity
) -> PredictOf:
    """`(weights, batch, dropout key or None) -> predict`, which returns a `Mixture` or `Categorical`; see `HEADS`.

    The network sees the sum of the known codes in units of that of all codes, how many tokens are masked, 999 times the
    share of all that are, and the class. A mixture is that of the sum of the masked codes over their own scale.
    """
    module, condition, K = make_network(config, dim, dtype), make_condition(config), config.model.num_categories
    causal, summed = is_autoregressive(config), config.resgen.head == "mixture"

    def of(weights: Weights, batch: Batch, dropout_key: Array | None = None) -> AnyPredict:
        params = gather_params(converted(weights.params, network.computes_in(module)))
        options: dict[str, Any] = {"train": dropout_key is not None}
        options["rngs"] = {} if dropout_key is None else {"dropout": dropout_key}

        def predict(x: Array, t: Array) -> Mixture | Categorical:
            counts = masked_counts(x, K)
            lost = jnp.mean(counts.reshape(len(x), -1), axis=1) / x.shape[-1]
            cond = condition(x, batch, dropout_key)
            with network.products(module):
                if causal:
                    log_probs: Any = module.apply({"params": params}, x, jnp.zeros(len(x)), cond, **options)
                    return Categorical(log_probs)
                scale = scales(weights.vectors)
                known = residual.total(weights.vectors, x) / scale[-1]
                out: Any = module.apply({"params": params}, known, counts, TIME_SCALE * lost, cond, **options)
            if not summed:
                return Categorical(out.reshape(*x.shape, K))
            out = Mixture(*(a.reshape(*counts.shape, *a.shape[2:]) for a in out))
            return mixture.scaled(out, scale[counts])

        return predict

    return of


def make_objective(
    config: ConfigDict, dim: int, weights_of: WeightsOf, gather_params: GatherParams = identity
) -> Objective:
    """-log p of all tokens, one call; or of the masked ones at a uniform time.

    Errors: ValueError for settings of other losses.
    """
    check_plain(config)
    choose("training.time_sampling", config.training.time_sampling, {"uniform": None})
    predict_of, reduce_mean = make_predict_of(config, dim, None, gather_params), config.training.reduce_mean
    if is_autoregressive(config):
        return each_given_those_before(predict_of, weights_of, reduce_mean=reduce_mean)
    draw = stratified if config.training.stratified else independent
    process_of = lambda weights: make_process(config, weights.vectors)  # noqa: E731
    return masked_sums(predict_of, weights_of, process_of, draw(identity_quantile), reduce_mean=reduce_mean)


# The rounds by name: (process, noise of the confidence) -> stepper
METHODS: dict[str, Callable[[DepthMask, float], Stepper]] = {
    "confidence": Rounds,
    "ancestral": lambda process, noise: Ancestral(process),
}


def order(config: ConfigDict) -> str:
    """The order in which tokens are sampled, in words."""
    return "one token after the other" if is_autoregressive(config) else config.sampling.method


def num_steps(config: ConfigDict) -> int:
    """Network calls of a sample: a token each, or the rounds. Errors: ValueError for other steps."""
    steps, size = config.sampling.num_steps, math.prod(data_shape(config))
    if not is_autoregressive(config):
        return steps or config.model.num_scales
    if steps not in (None, size):
        raise ValueError(
            f"config.sampling.num_steps = {steps}, but config.resgen.head = 'autoregressive' takes one step for each "
            f"of the {size} tokens; leave it unset."
        )
    return size


def check_sampling(config: ConfigDict) -> None:
    """Errors: ValueError for settings of samplers that residual tokens do not have."""
    sampling = config.sampling
    choose("sampling.grid", sampling.grid, {"uniform": None})
    choose("sampling.method", sampling.method, METHODS)
    choose("sampling.guidance", sampling.guidance, dict.fromkeys(("none", "classifier_free")))
    for name, off in (("remasking", 0.0), ("guidance_min_sigma", 0.0), ("guidance_max_sigma", None)):
        if sampling[name] != off:
            raise ValueError(
                f"config.sampling.{name} = {sampling[name]} is for other kinds of models than config.system = "
                f"'resgen'; set it to {off}."
            )


def make_sampler(config: ConfigDict, vectors: Array) -> FixedStep:
    """The rounds, or a step for each token, of a codebook."""
    process = make_process(config, vectors)
    stepper: Stepper = OneByOne(process.mask)
    if not is_autoregressive(config):
        stepper = METHODS[config.sampling.method](process, config.sampling.confidence_noise)
    return FixedStep(process, stepper, grids.uniform(num_steps(config), 0.0), denoise=False)


def guide(config: ConfigDict, dim: int, sharding: Sharding, load_network: LoadNetwork) -> guidance.Guide:
    """The predictions for the sampler: guided, and sharpened by temperature and top-p.

    Guidance is linear in log-probabilities, or in the logarithms of weights, means and log-deviations of mixtures.
    """
    sampling = config.sampling
    plain = guidance.guide(config, sharding, load_network, lambda c, dtype: make_predict_of(c, dim, dtype))
    if (sampling.temperature, sampling.top_p) == (1.0, 1.0) and sampling.guidance == "none":
        return plain
    sharpened = rounds.sharpened if config.resgen.head == "mixture" else categorical.sharpened

    def predict_of(weights: Weights, other: Any, asked: guidance.Asked) -> AnyPredict:
        return sharpened(plain.predict_of(weights, other, asked), sampling.temperature, sampling.top_p)

    return guidance.Guide(predict_of, plain.params, plain.num_labels)


def bits_per_dim(config: ConfigDict) -> Callable[[Weights], BitsPerDim]:
    """For a codebook `(predict, keys [B], tokens) -> {"bits_per_dim" [B], "logp_nats" [B], "num_evals"}`, per token.

    That of an autoregressive model is exact. Others have an upper bound for `model.num_scales` rounds with
    `sampling.method = "ancestral"`, from `eval.num_probes` terms.
    """
    choose("eval.bpd_method", config.eval.bpd_method, {"bound": None})
    num, times = config.eval.num_probes, np.linspace(0, 1, config.model.num_scales + 1)

    def measure(weights: Weights, predict: AnyPredict, keys: Array, tokens: Array) -> dict[str, Array]:
        x0 = tokens.astype(jnp.int32)
        process = make_process(config, weights.vectors)
        if is_autoregressive(config):
            unit = math.prod(x0.shape[1:]) * math.log(2)
            nats = process.error(predict(x0, jnp.zeros(len(x0))), x0, jnp.zeros(len(x0)))
            nats = jnp.sum(nats.reshape(len(x0), -1), axis=1)
            return {"bits_per_dim": nats / unit, "logp_nats": -nats, "num_evals": jnp.int32(1)}
        term = terms.discrete(process, times)
        found = elbo(predict, process, term, x0, fold_in(keys, LikelihoodKey.PROBES), num_times=num)
        return of_levels(found, x0.shape, num)

    return lambda weights: functools.partial(measure, weights)
