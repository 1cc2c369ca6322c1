"""What CONTRIBUTING.md and the page about networks say is applied to a copy of the repository, and the copy works."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

from tests.support.documented import BLOCK
from tests.support.paths import CACHE, ROOT, XLA_FLAGS

# The first line of a block: "# path", "# path, with the imports", "# path, in TABLE" or "# path, below Heading".
HEADER = re.compile(r"# ([\w/]+\.(?:py|md))(?:, (with the imports|in (\w+)|below (.+)))?\n")
NOT_COPIED = shutil.ignore_patterns(".*", "runs", "site", "__pycache__", "images")


def recipes(page):
    """(path, what to do or None, table or None, heading or None, text) of every block that says where it goes."""
    for block in BLOCK.finditer((ROOT / page).read_text(encoding="utf-8")):
        header = HEADER.match(block[2])
        if header:
            yield *header.groups(), block[2][header.end() :]


def apply(root, path, place, table, heading, text):
    """Writes a new file, or adds a line to the imports, to a dict literal or below the head of a table."""
    file = root / path
    if place is None:
        assert not file.exists(), f"{path} is there already"
        file.write_text(text, encoding="utf-8")
        return
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    if heading:
        title = next(i for i, line in enumerate(lines) if line.strip("# \n") == heading)
        at = next(i for i in range(title, len(lines)) if lines[i].startswith("| ---")) + 1
        lines.insert(at, text)
    elif table:
        value = table_of(ast.parse("".join(lines)), table)
        line, column = value.lineno - 1, value.col_offset + 1
        lines[line] = f"{lines[line][:column]}\n    {text}    {lines[line][column:].lstrip()}"
    else:
        body = ast.parse("".join(lines)).body
        lines.insert(max(node.end_lineno for node in body if isinstance(node, ast.Import | ast.ImportFrom)), text)
    file.write_text("".join(lines), encoding="utf-8")


def table_of(tree, name):
    """The dict literal that a module calls `name`."""
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            assert isinstance(node.value, ast.Dict)
            return node.value
    raise AssertionError(f"there is no table {name}")


@pytest.fixture(scope="module")
def changed(tmp_path_factory):
    """A copy of the repository with all recipes applied."""
    root = tmp_path_factory.mktemp("recipes") / "copy"
    shutil.copytree(ROOT, root, ignore=NOT_COPIED)
    for page in ("CONTRIBUTING.md", "docs/howto/network.md"):
        for recipe in recipes(page):
            apply(root, *recipe)
    CACHE.mkdir(parents=True, exist_ok=True)
    (root / ".cache").mkdir()
    (root / ".cache" / "jax").symlink_to(CACHE.parent)
    run(root, "-m", "configs.reference")
    return root


def run(root, *arguments):
    environment = os.environ | {"PYTHONPATH": str(root), "XLA_FLAGS": XLA_FLAGS}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=root, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done


def losses(workdir):
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [line["loss"] for line in lines if "loss" in line]


def test_each_recipe_is_one_file_and_lines_in_tables():
    found = list(recipes("CONTRIBUTING.md"))
    assert [path for path, place, *_ in found if place is None] == [
        "sde/ou.py",
        "sampling/steps/midpoint.py",
        "data/sets/moons.py",
        "evaluation/metrics/mean_distance.py",
        "systems/requests/mean.py",
        "sampling/inverse/operators/sums.py",
        "configs/vp/smoke_ou.py",
    ]
    assert all(len(text.splitlines()) == 1 for _, place, *_, text in found if place)
    # An import and a row each, twice for the SDE, which has tests; a setting and an experiment are a row alone.
    assert sum(place is not None for _, place, *_ in found) == 2 * (2 + 1 + 1 + 1 + 1 + 1) + 2


def test_the_experiment_of_the_recipes_trains_with_the_new_sde_predictor_and_network(changed, data_dir, tmp_path):
    """And is evaluated by the new metric, and sampled by the new task."""
    workdir = f"--workdir={tmp_path}"
    run(
        changed,
        "main.py",
        "--config=configs/vp/smoke_ou.py",
        workdir,
        "--mode=train",
        f"--config.data.data_dir={data_dir}",
        "--config.model.name=tiny",
    )
    assert len(losses(tmp_path)) >= 2 and (tmp_path / "samples" / "snapshot_1.png").exists()
    metrics = ("--config.eval.enable_sampling", "--config.eval.enable_metrics", "--config.eval.features=pixels")
    shown = run(changed, "main.py", workdir, "--mode=eval", *metrics).stdout
    report = json.loads((tmp_path / "eval" / "ckpt_1" / "report.json").read_text(encoding="utf-8"))
    assert report["results"]["metrics"]["samples"]["mean_distance"]["error"] > 0
    assert "mean distance" in shown
    run(changed, "main.py", workdir, "--mode=sample", "--task=mean", "--num_samples=8", "--request.rounded")
    with np.load(tmp_path / "sample" / "mean" / "samples.npz", allow_pickle=False) as arrays:
        assert arrays["mean"].shape == (1, 8, 8, 1) and arrays["mean"].dtype == np.uint8

    measured = ("--task=sums", "--input=test:0", "--num_samples=2", "--config.sampling.num_steps=3")
    run(changed, "main.py", workdir, "--mode=sample", *measured)
    results = json.loads((tmp_path / "sample" / "sums" / "record.json").read_text(encoding="utf-8"))["results"]
    assert results["psnr_spread_db_over_images"] > 0


def test_the_data_set_of_the_recipes_is_inspected(changed):
    data = ("--config.data.dataset=moons", "--config.data.shape=(2,)")
    shown = run(changed, "main.py", "--config=configs/vp/vectors_mlp_continuous.py", "--mode=inspect", *data).stdout
    assert "1,600" in shown and "400" in shown


def test_the_laws_hold_for_what_the_recipes_add(changed):
    laws = ["tests/unit/sde/test_sde.py", "-k", "[ou]"]
    others = [
        "tests/unit/sampling/test_steps.py::test_tables_make_every_step_from_the_same_settings",
        "tests/unit/builders/test_inverse.py::test_every_task_measures_examples_of_all_its_ranks[sums-3]",
        "tests/unit/configs/test_configs.py::test_the_documentation_lists_the_config[configs/vp/smoke_ou.py]",
        "tests/unit/configs/test_configs.py::test_the_documentation_lists_nothing_else",
        "tests/unit/configs/test_configs.py::test_every_config_is_locked_and_valid_and_builds[configs/vp/smoke_ou.py]",
        "tests/unit/configs/test_configs.py::test_every_key_is_read_somewhere",
        "tests/unit/configs/test_declarations.py::test_the_reference_page_is_up_to_date",
    ]
    pytest_alone = ("-m", "pytest", "-v", "-p", "no:xdist", "-p", "no:cacheprovider")
    passed = int(re.search(r"(\d+) passed", run(changed, *pytest_alone, *laws).stdout)[1])
    assert passed >= 5
    assert f"{len(others)} passed" in run(changed, *pytest_alone, *others).stdout
