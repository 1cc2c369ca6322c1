"""What is measured of a family: a training of given operations, its likelihood, words of images, images of words."""

import json
import pathlib
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import run_lib
from benchmarks.comparison.families import NUM_WORDS, Family, Size
from core.arrays import Array
from core.files import write_json
from core.keys import RunKey, fold_in, keys_at
from data.vocabulary import TEXT
from evaluation.metrics.base import SplitFeatures
from evaluation.metrics.novelty import novelty
from programs import evaluate, train
from programs.run import Run
from systems.evaluations.texts import classifiers
from systems.texts import TextsAndImages

Figures = dict[str, Any]
BATCH = 100


def measured(family: Family, size: Size, operations: float, folder: pathlib.Path, seed: int) -> Figures:
    """The figures of a family and a seed, after a training of this many floating-point operations.

    A family that is `like` another one trains as many steps as that one. Figures that are in `folder` are read.
    """
    path = folder / f"{family.name}_{seed}.json"
    if path.exists():
        return json.loads(path.read_text())
    config = family.config(size)
    config.seed = seed
    workdir = folder / f"{family.name}_{seed}"
    found = cost(Run(config, workdir, jax.devices()[:1]), size)
    like = found if family.like is None else cost(Run(family.like.config(size), workdir, jax.devices()[:1]), size)
    num = max(round(operations / like["operations per step"]), 1)
    config.training.log_freq = next(k for k in range(min(num, 20), 0, -1) if num % k == 0)
    config.training.update(n_iters=num, snapshot_freq=num, snapshot_freq_for_preemption=num)
    config.optim.warmup = max(num // 20, 1)
    began = time.perf_counter()
    run_lib.train_run(Run(config, workdir, jax.devices()[:1]))
    found |= {"steps": num, "training operations": num * found["operations per step"]}
    found["training seconds"] = time.perf_counter() - began
    run = evaluate.prepare(config, workdir)
    results = json.loads(evaluate.evaluate(run)[0].read_text())["results"]
    variables, number = run.restore().variables, run.restore().number
    found |= {"bits/dim": results["bits_per_dim"]["mean"], **_losses(results["loss"])}
    found["accuracy"] = _read(run, family, size, variables["params"])
    found |= _drawn(run, size, variables, number)
    if "routing" in run.system.evaluations:
        found |= _routing(run, number, variables)
    write_json(path, found)
    return found


def cost(run: Run, size: Size) -> Figures:
    """Parameters, and operations of a training step as XLA counts those of the program before it optimizes it."""
    state, settings = run.abstract_state(), train.settings_of(run.config.training)
    lowered = jax.jit(train.make_step(run, settings)).lower(state, run.spec.zeros(size.batch_size), {})
    analysis: Any = lowered.cost_analysis()
    params: Any = jax.eval_shape(run.system.init, run.key)["params"]
    found: Figures = {
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(params)),
        "operations per step": float(analysis["flops"]),
    }
    return {**found, "active parameters": found["parameters"] - _idle(run, params)}


def _idle(run: Run, params: Any) -> int:
    """Parameters of the experts that a token does not go through."""
    E, k = run.config.autoregressive.num_experts, run.config.autoregressive.experts_per_token
    if run.config.system != "autoregressive" or E == 1:
        return 0
    leaves = jax.tree_util.tree_leaves_with_path(params)
    of_experts = sum(
        leaf.size
        for path, leaf in leaves
        if any("experts" in str(p) for p in path) and leaf.ndim != 1 and not any("router" in str(p) for p in path)
    )
    return of_experts * (E - k) // E


def _losses(found: dict[str, Any]) -> Figures:
    """The held-out losses of the words and of the image, where there are both."""
    return {f"loss of {name}": found[f"{name}_mean"] for name in ("text", "image") if f"{name}_mean" in found}


def _read(run: Run, family: Family, size: Size, params: Any) -> float:
    """How often the likeliest of the ten words, which are equally likely before, is that of a held-out image."""
    num, right = min(size.num_read, len(run.test)), 0.0
    of = _direct(run) if family.reads == "directly" else _bayes(run, size)
    for start in range(0, num, BATCH):
        index = np.arange(start, start + BATCH) % len(run.test)  # whole batches, so that one program does
        batch = run.test.fetch(index)
        logp = np.asarray(of(params, index, batch))
        right += float((logp.argmax(axis=1) == batch["label"])[: num - start].sum())
    return right / num


def _direct(run: Run) -> Callable[..., Array]:
    """`(params, index, batch) -> ln p(word | image) [B, 10]`."""
    system = run.system
    assert isinstance(system, TextsAndImages)
    words = np.arange(1, NUM_WORDS + 1, dtype=np.int32)[:, None]
    return lambda params, index, batch: system.text_logp(params, jnp.asarray(batch["x"]), jnp.asarray(words))


def _bayes(run: Run, size: Size) -> Callable[..., Array]:
    """The same up to a constant: the bound on ln p(image | word) of each word, all with the same noise.

    Source: Li et al., "Your Diffusion Model is Secretly a Zero-shot Classifier", ICCV 2023.
    """
    config = run.config.copy_and_resolve_references()
    config.eval.update(num_probes=size.num_times_of_words, bpd_method="bound")
    system: Any = Run(config, run.workdir, jax.devices()[:1]).system
    key, rest = fold_in(run.key, RunKey.LIKELIHOOD), (None,) if run.config.system == "diffusion" else ()

    def logp(params: Any, index: np.ndarray, batch: dict[str, np.ndarray]) -> Array:
        keys = keys_at(key, index)
        given = [{"x": jnp.asarray(batch["x"]), "label": jnp.full(len(index), word)} for word in range(NUM_WORDS)]
        return jnp.stack([system.bits_per_dim(params, keys, of, *rest)["logp_nats"] for of in given], axis=1)

    return logp


def _drawn(run: Run, size: Size, variables: Any, number: int) -> Figures:
    """Images of words in turn: whether a judge finds the word, calls and seconds, and whether they are copies."""
    label = np.arange(size.num_samples) % NUM_WORDS
    asked = (
        {TEXT: jnp.asarray(label[:, None] + 1)}
        if isinstance(run.system, TextsAndImages)
        else {"label": jnp.asarray(label)}
    )
    keys, generate = run.system.sample_keys(number, 0, size.num_samples), run.system.generate
    assert generate is not None
    jax.block_until_ready(generate(variables, keys, asked))  # compiles
    began = time.perf_counter()
    drawn = jax.device_get(generate(variables, keys, asked))
    seconds = time.perf_counter() - began
    judge, held_out = classifiers(run.system)["svm"], run.test.fetch(np.arange(len(run.test)))
    training = run.train.fetch(np.arange(len(run.train)))["x"]
    flat = [np.reshape(x, (len(x), -1)) for x in (training, held_out["x"], drawn["samples"])]
    new = novelty(flat[2], SplitFeatures(flat[0], flat[1]))
    return {
        "class match": float((judge(drawn["samples"]) == label).mean()),
        "judge": float((judge(held_out["x"]) == held_out["label"]).mean()),
        "calls": int(drawn["num_evals"]),
        "seconds per sample": seconds / size.num_samples,
        "novelty": new["novelty"].value,
        "near copies": new["near_copies"].value,
    }


def _routing(run: Run, number: int, variables: Any) -> Figures:
    """How evenly experts are used, and how differently by words and images."""
    task = run.system.evaluations["routing"](number, variables)
    found = task.summarize([task.run(k) for k in range(task.num_rounds)])
    return {"entropy of experts": found["entropy"]["all"], "experts by modality": found["difference"]}
