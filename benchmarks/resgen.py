"""Models of residual tokens by head and depth: how near their samples are to the digits, over several seeds.

    python -m benchmarks.resgen --root=DIR [--models mixture:1 mixture:4 independent:4 ...] [--seeds 0 1 2]
        [--n_iters=500] [--batch_size=64] [--classifier_iters=160] [--num=1000] [--sampling temperature=0.8 ...]
        [--bound]

A model is HEAD:DEPTH, with the heads of `resgen.head` and `gaussian`, a mixture of one component. DIR gets the runs:
for each depth the tokenizer of configs/resgen/digits_tokenizer.py and the digits encoded by it, the classifier of
configs/subvp/digits_classifier.py, and a run for each model and seed with the settings of configs/resgen/digits.py.
Finished trainings are not done again. Each model samples as many digits of each class, with changes of
`config.sampling`.

Prints a JSON line for each model and seed, and a Markdown table of means with their standard errors over the seeds: the
Frechet distance to the training digits in the classifier's features and in pixels, and the share of samples in which a
support-vector machine finds the class that was asked for; of held-out digits first. With --bound also bits per token.
"""

import argparse
import ast
import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict
from sklearn.svm import SVC

from builders.features import clean_classifier
from configs import default
from configs.resgen import digits, digits_autoregressive, digits_tokenizer
from configs.subvp import digits_classifier
from data.readers.encoded import ABOUT
from data.sets import digits as data
from evaluation.metrics import frechet, moments
from evaluation.metrics.base import mean_over_examples
from evaluation.metrics.reference import statistics
from programs import encode, evaluate, restore_run, train
from programs.model import load
from programs.run import Run
from runtime import malloc
from systems.tokenizer import TokenizerSystem

Figures = dict[str, float]
MODELS = ("mixture:1", "mixture:2", "mixture:3", "mixture:4", "independent:4")


def trained(config: ConfigDict, workdir: pathlib.Path) -> pathlib.Path:
    """The workdir of the run of a config, trained unless it is."""
    if not (workdir / train.FINISHED).exists():
        default.validate(config)
        run = Run(config, workdir)
        train.prepare(run)
        train.train(run)
    return workdir


def once(config: ConfigDict, num_steps: int, **training: Any) -> ConfigDict:
    """The config with one checkpoint to evaluate, at the end."""
    config.training.update(n_iters=num_steps, snapshot_freq=num_steps, log_freq=num_steps // 4, eval_freq=0)
    config.training.update(snapshot_freq_for_preemption=num_steps // 4, snapshot_sampling=False, **training)
    config.eval.update(begin_ckpt=1, end_ckpt=1)
    return config


def encoded(root: pathlib.Path, depth: int) -> pathlib.Path:
    """The folder of the digits' tokens; the tokenizer is beside it."""
    config, folder = digits_tokenizer.get_config(), root / f"encoded_{depth}"
    config.tokenizer.depth = depth
    workdir = trained(once(config, 40), root / f"tokenizer_{depth}")
    if not (folder / ABOUT).exists():
        encode.encode(Run.of_checkpoint(restore_run.about(workdir).config, workdir), folder)
    return folder


def model_config(root: pathlib.Path, model: str, seed: int, num_steps: int, batch_size: int) -> ConfigDict:
    """The config of a model of tokens that are encoded already."""
    head, depth = model.split(":")
    config, folder = once(digits.get_config(), num_steps, batch_size=batch_size), encoded(root, int(depth))
    config.seed, config.data.dataset = seed, f"encoded:{folder}"
    config.model.update(stages=(f"tokenizer={root / f'tokenizer_{depth}'}",), ema_rate=0.98)
    config.resgen.head = "mixture" if head == "gaussian" else head
    if head == "gaussian":
        config.resgen.num_components = 1
    if head == "autoregressive":
        config.sampling = digits_autoregressive.get_config().sampling
    config.eval.tasks = ("bits_per_dim",)
    return config


def decoded(workdir: pathlib.Path, codes: np.ndarray) -> np.ndarray:
    """Digits of tokens, by the tokenizer of a run."""
    run = Run.of_checkpoint(restore_run.about(workdir).config, workdir)
    system, variables = run.system, run.restore().variables
    assert isinstance(system, TokenizerSystem)
    return np.asarray(system.decode(variables, system.tokenizer.decode(variables, jnp.asarray(codes))))


def spaces(root: pathlib.Path, num_steps: int) -> Mapping[str, Callable[[np.ndarray], np.ndarray]]:
    """Features by name, of levels [N, 8, 8, 1]."""
    config = digits_classifier.get_config()
    workdir = trained(once(config, num_steps, batch_size=64), root / "classifier")
    params = restore_run.restore(workdir).variables["params"]
    apply = jax.jit(clean_classifier(config, data.NUM_LEVELS))
    return {
        "classifier": lambda x: np.asarray(apply(params, x)["features"]),
        "pixels": lambda x: x.reshape(len(x), -1) / (data.NUM_LEVELS - 1),
    }


def bits(root: pathlib.Path, config: ConfigDict, workdir: pathlib.Path) -> Figures:
    """Bits per token of held-out digits."""
    (report,) = evaluate.evaluate(evaluate.prepare(config, workdir))
    return {"bits": json.loads(report.read_text())["results"]["bits_per_dim"]["mean"]}


def main() -> None:
    """Trains, samples, and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=pathlib.Path, required=True)
    parser.add_argument("--models", nargs="+", default=MODELS, metavar="HEAD:DEPTH")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--n_iters", type=int, default=500)
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--classifier_iters", type=int, default=160)
    parser.add_argument("--num", type=int, default=1000, help="samples of each model")
    parser.add_argument("--sampling", nargs="*", default=[], metavar="NAME=VALUE", help="settings of config.sampling")
    parser.add_argument("--bound", action="store_true", help="measure bits per token")
    given = parser.parse_args()
    known, held_out = (source.fetch(np.arange(len(source))) for source in map(data.source, ("train", "test")))
    judge = SVC(C=10).fit(known["x"].reshape(-1, 64), known["label"])
    features = spaces(given.root, given.classifier_iters)
    real = {name: statistics(moments.of(extract(known["x"]))) for name, extract in features.items()}

    def measured(x: np.ndarray, labels: np.ndarray) -> Figures:
        found = {name: statistics(moments.of(extract(x))) for name, extract in features.items()}
        distances = {name: frechet.fid(found[name], real[name]).value for name in found}
        return {**distances, "class match": float((judge.predict(x.reshape(-1, 64)) == labels).mean())}

    print(json.dumps({"model": "held-out digits", **measured(held_out["x"], held_out["label"])}), flush=True)
    labels = np.arange(given.num) % 10
    changes = dict(change.split("=") for change in given.sampling)
    settings = {f"sampling.{name}": _value(value) for name, value in changes.items()}
    table: dict[str, list[Figures]] = {}
    for seed in given.seeds:
        for model in given.models:
            config = model_config(given.root, model, seed, given.n_iters, given.batch_size)
            workdir = trained(config, given.root / f"{model.replace(':', '_')}_{seed}")
            codes = load(workdir, settings=settings).sample(given.num, labels.tolist())
            found = measured(decoded(given.root / f"tokenizer_{model.split(':')[1]}", codes), labels)
            found |= bits(given.root, config, workdir) if given.bound else {}
            table.setdefault(model, []).append(found)
            print(json.dumps({"model": model, "seed": seed, **found}), flush=True)
    names = list(found)
    print("\n| model |", " | ".join(names), "|\n| --- |" + " --- |" * len(names))
    for model, rows in table.items():
        cells = []
        for name in names:
            mean = mean_over_examples(np.array([row[name] for row in rows]))
            cells.append(f"{mean.value:.3f} ± {mean.error:.3f}")
        print(f"| {model} |", " | ".join(cells), "|")


def _value(text: str) -> Any:
    """A number, or else the text."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


if __name__ == "__main__":
    malloc.configure()
    main()
