"""The program plan, with this machine's CPU devices in the place of accelerators that are not here."""

import json
import math
import re
import types

import jax
import pytest

from programs import plan
from runtime import topology
from runtime.chips import Chip
from runtime.cost import compiled_cost
from runtime.topology import Topology
from tests.support.runs import tiny

FLAGS = (
    "--mode=plan", "--config=configs/vp/smoke.py", "--config.model.name=perceptron", "--config.data.dataset=CIFAR10",
    "--config.data.image_size=8", "--config.data.num_channels=3", "--config.model.nf=8", "--config.eval.batch_size=8",
    "--config.training.batch_size=8",
)  # fmt: skip


def devices(memory=2**30, count=4):
    return Topology(f"cpux{count}", "cpu", Chip("CPU", memory, 1e12, 1e11, 1e10), jax.devices()[:count])


def config_of(**training):
    config = tiny()
    config.training.update(batch_size=8, **training)
    return config


def lowered(config, platform="cpu", program="train"):
    shapes = plan.shapes_of(config, devices(), plan.spec_of(config))
    return plan.lowered(shapes, devices()._replace(platform=platform), program)


def test_a_plan_is_a_table_and_a_line_of_json(monkeypatch, capsys, command_line):
    monkeypatch.setattr(topology, "find", lambda name: devices())
    printed = []
    monkeypatch.setattr("builtins.print", lambda *words, **options: printed.append(words[0]))
    assert command_line(*FLAGS, "--topology=cpux4").code == 0
    table, line = [text for text in printed if isinstance(text, str)][:2]
    record = json.loads(line)
    (cost,) = record["programs"].values()
    assert record["fits"] and record["devices"] == 4 and "4 x CPU" in table and "all-reduce f32" in table
    # The state has no data in it: its bytes are those of parameters, their average, and two moments, with three counts.
    assert abs(record["state_bytes"] - 4 * 4 * record["num_parameters"]) < 32
    assert 0 <= cost["arguments"] - record["state_bytes"] - 8 * 8 * 8 * 3 // 4 < 128  # a quarter of the batch
    assert cost["aliased"] >= record["state_bytes"]
    gradients = cost["communication"]["all-reduce f32"]
    assert 4 * record["num_parameters"] <= gradients < 4 * record["num_parameters"] + 256
    assert cost["seconds"]["network"] == pytest.approx(gradients * 2 * 3 / 4 / 1e10)
    assert cost["bound_seconds"] == max(cost["seconds"].values())


def test_a_plan_that_does_not_fit_ends_with_what_to_change_and_the_code_of_a_run(monkeypatch, command_line):
    monkeypatch.setattr(topology, "find", lambda name: devices(memory=10_000))
    done = command_line(*FLAGS, "--topology=cpux4", "--programs=train")
    assert done.code == 3 and "needs" in done.error and "--fit tries them" in done.error
    assert "config.training.grad_accumulation" in done.error and "\n" not in done.error.strip()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ([], "needs --topology=DEVICES"),
        (["--topology=v5x-8"], "--topology=v5x-8 is not known"),
        (["--topology=v5e:2x2", "--programs=trane"], "nearest: train"),
    ],
)
def test_a_command_that_cannot_be_planned_is_one_sentence(flags, said, command_line):
    done = command_line(*FLAGS, *flags)
    assert done.code == 2 and said in done.error and "\n" not in done.error


def test_data_that_are_not_here_are_planned_by_the_shape_in_the_config(tmp_path, caplog):
    config = config_of()
    config.data.update(dataset=f"folder:{tmp_path}/missing", image_size=8, num_channels=3)
    assert plan.spec_of(config).shape == (8, 8, 3) and "cannot be read" in caplog.text


def test_what_helps_is_tried(monkeypatch):
    tried, spec = [], plan.spec_of(config_of())

    def shapes(**training):
        return plan.shapes_of(config_of(**training), devices(), spec)

    def cost_of(shapes, devices, program="train"):
        training = shapes.run.config.training
        tried.append((training.batch_size, training.fsdp, training.grad_accumulation))
        size = training.batch_size
        return types.SimpleNamespace(needed=10_000 * size, memory=2**20, fits=size <= 21)

    monkeypatch.setattr(plan, "cost_of", cost_of)
    assert plan.largest(shapes(), devices(), {}) == 20
    assert plan.largest(shapes(grad_accumulation=2), devices(), {}) == 16
    known = {8: cost_of(shapes(), devices())}
    tried.clear()
    assert plan.largest(shapes(), devices(), known) == 20 and (8, 1, 1) not in tried
    tried.clear()
    found = plan.tried(config_of(), devices(), spec)
    # The network has no blocks that could be computed again, and 8 rows are not 4 or 8 parts for each of 4 devices.
    assert [each["change"] for each in found] == [{"training.fsdp": 4}, {"training.grad_accumulation": 2}]
    assert tried == [(8, 4, 1), (8, 1, 2)] and {"model.remat": True} in plan.changes(config_of(), 4)


# The share of the memory that a batch needs, by the share of the largest: of that and of the state; of a compiler that
# computes again what does not fit; of one that does not say what a refused program needs; of another kind at random.
SHARES = {
    "linear": (lambda part: 0.3 + 0.7 * part, 4),
    "saturated": (lambda part: min(2 * part, 0.97) if part <= 1 else 1.3 * part, 14),
    "unsaid": (lambda part: part * (part <= 1), 16),
    "irregular": (lambda part: 1.0 + math.sin(1e6 * part), 20),
}


@pytest.mark.parametrize("shares", SHARES)
@pytest.mark.parametrize("start", [4, 128, 4096])
@pytest.mark.parametrize("limit", [1, 3, 8, 100, 1000, 12345])
def test_the_largest_batch_is_found_in_few_compilations(limit, start, shares):
    share, most = SHARES[shares]
    tried = []

    def measure(size):
        tried.append(size)
        return size <= limit, share(size / limit)

    found = plan.largest_fitting(start, 4, measure, share(0))
    assert found % 4 == 0 and found <= limit < found + max(4, found // 16 + 4)
    assert len(set(tried)) == len(tried) <= most and all(size % 4 == 0 for size in tried)


def test_a_refusal_of_the_compiler_has_its_bytes():
    class Refused:
        def compile(self):
            raise jax.errors.JaxRuntimeError(
                "RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm. Used 18.31G of 15.75G hbm. By 2.56G."
            )

    cost, compiled = compiled_cost(Refused(), devices())
    assert compiled is None and not cost.fits and cost.needed == int(18.31 * 2**30)
    assert cost.memory == int(15.75 * 2**30)


def test_samples_are_planned_from_shapes():
    config = config_of()
    config.sampling.num_steps = 2
    assert "stablehlo" in lowered(config, program="sample").as_text()


def test_a_system_without_the_program_says_so():
    config = config_of()
    config.system = "classifier"
    config.model.update(name="perceptron_classifier", num_labels=10)
    config.data.update(dataset="CIFAR10", image_size=8)
    config.training.snapshot_sampling = config.eval.enable_bpd = config.eval.enable_sampling = False
    with pytest.raises(ValueError, match="--programs=sample.*generates no samples"):
        lowered(config, program="sample")
    with pytest.raises(ValueError, match="--programs=likelihood"):
        lowered(config, program="likelihood")


def products(config, platform, program):
    """The precisions that products of a lowered program ask for, as a set; "default" for none."""
    text = lowered(config, platform, program).as_text()
    asked = set()
    for line in text.splitlines():
        if "stablehlo.dot_general" in line or "stablehlo.convolution" in line:
            match = re.search(r"precision = \[(\w+), (\w+)\]|precision<(\w+)>", line)
            asked |= {word for word in match.groups() if word} if match else {"default"}
    return {"default" if word == "DEFAULT" else word for word in asked}


def test_what_is_called_float32_asks_accelerators_for_it():
    config = config_of()
    assert products(config, "tpu", "likelihood") == {"HIGHEST"}
    assert products(config, "tpu", "train") == {"HIGH"} and products(config, "cpu", "train") == {"default"}
    config.model.dtype = "bfloat16"
    assert products(config, "tpu", "train") == {"default"}
