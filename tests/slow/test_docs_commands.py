"""Every command of the README and of docs/ is executed: as it is written, with flags appended that make it small.

A command runs in a folder where what it names is there (`PATH`, `A.png`, `checkpoint_24.pth`, a trained workdir `DIR`),
by the entry of its program, in this process; `command_stage.py` says what is appended. What is executed by
another test or by `.ci/run` is in `ELSEWHERE`, what nothing executes in `NOT_EXECUTED`, with the reason; there is no
third way.
"""

import contextlib
import fnmatch
import importlib
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest

import main
from builders.devices import make_devices
from tests.support import perceptron
from tests.support.command_stage import OF_BENCHMARK, Stage, Subject, special, value_of
from tests.support.documented import COMMANDS, OTHERS, logical_lines
from tests.support.flags import flags_of_main
from tests.support.paths import DEVICES, ROOT, XLA_FLAGS
from tests.support.prepared import mocked

# ml_collections reads a config file in a way that Python 3.12 will not have.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
WRITTEN = {}
for command in COMMANDS:
    WRITTEN.setdefault(" ".join(command.words), command)

ELSEWHERE = {  # a command (`*` is anything): the test that executes it, or what of .ci/run does
    "python -m benchmarks.kill --*": "tests/slow/test_kill.py::"
    "test_killed_runs_end_like_one_that_was_left_alone_to_the_last_bit",
    "python -m benchmarks.bit_flips*": "tests/slow/test_bit_flips.py::"
    "test_a_flipped_bit_is_harmless_or_detected_or_fallen_back_from",
    "python -m benchmarks.fuzz*": "tests/slow/test_fuzz.py::test_every_changed_file_is_read_or_refused_as_documented",
    "python -m benchmarks.hostile*": "tests/slow/test_hostile.py::"
    "test_hostile_files_are_refused_in_one_sentence_within_bounds_and_nothing_is_executed",
    "python -m benchmarks.kill_workers*": "tests/slow/test_kill_workers.py::"
    "test_workers_that_are_killed_and_begun_again_count_each_image_once_and_leave_the_same_report",
    "python sweep.py *--launcher=slurm*": "tests/slow/test_sweep_slurm.py::"
    "test_a_sweep_survives_a_kill_and_a_requeue_on_slurm_and_ends_as_on_one_machine",
    "python sweep.py *--model=*": "tests/unit/sweeps/test_plan.py::"
    "test_a_model_that_stands_alone_is_only_evaluated_and_done_with_the_report_of_its_checkpoint",
    "python main.py --config=configs/edm2/*.py *": "tests/programs/test_edm2.py::"
    "test_a_run_resumes_bit_for_bit_with_its_weight_of_noise_levels_and_its_averages",
    "python main.py --config=configs/vdm/*.py *": "tests/programs/test_variational.py::"
    "test_a_learned_schedule_trains_resumes_bit_for_bit_on_any_devices_and_is_evaluated",
    "python main.py --workdir=runs/vdm --mode=eval *": "tests/programs/test_variational.py::"
    "test_a_learned_schedule_trains_resumes_bit_for_bit_on_any_devices_and_is_evaluated",
    "python main.py --workdir=runs/mulan --mode=eval *": "tests/unit/systems/test_contract.py::"
    "test_every_evaluation_summarizes_and_every_column_is_shown",
    "python main.py --workdir=runs/fixed --mode=eval *": "tests/programs/test_variational.py::"
    "test_a_learned_schedule_trains_resumes_bit_for_bit_on_any_devices_and_is_evaluated",
    "sbatch *docs/clusters/train.sbatch*": "tests/slow/test_sweep_slurm.py::"
    "test_the_template_for_several_processes_saves_is_requeued_goes_on_and_can_be_cancelled",
    "python main.py": "tests/slow/test_sweep_slurm.py::"  # and requeueing by its exit code, which the template has
    "test_the_template_for_several_processes_saves_is_requeued_goes_on_and_can_be_cancelled",
    "python main.py *--distributed*": "tests/slow/test_distributed.py::"
    "test_processes_that_a_cluster_names_find_each_other_and_have_the_losses_of_one",
    "python main.py *--task=impute --input=FILE.csv": "tests/programs/test_series.py::"  # of a file with gaps
    "test_missing_values_are_imputed_and_others_are_not",
    "python main.py --workdir=DIR --mode=sample --task=inpaint --input=test:0,1,2,3 --mask=M.png": "tests/programs/"
    "test_latent.py::test_examples_are_completed_from_the_codes_of_what_is_known_alone",  # after a tokenizer
    "python main.py *--request.infer_class*": "tests/programs/test_categorical.py::"
    "test_known_sites_stay_in_inpainted_digits",
    "python main.py *--config.sampling.trajectory=8 *": "tests/programs/test_sample.py::"
    "test_states_along_the_way_are_a_gif_on_demand",
    "python -m benchmarks.digits_samples*": "tests/programs/test_categorical.py::test_the_benchmark_judges_samples",
    ".venv/bin/python -m configs.reference": "tests/slow/test_recipes.py::test_the_laws_hold_for_what_the_recipes_add",
    "python main.py *--mode=config*": "tests/programs/test_messages.py::"
    "test_the_settings_of_a_command_say_where_they_come_from",
    "python main.py *--mode=plan*": "tests/programs/test_plan.py::test_a_plan_is_a_table_and_a_line_of_json",
    "python main.py *--cpu_devices=4 --config.eval.batch_size=96 *": "tests/slow/test_sharded_run.py::"
    "test_a_run_with_a_sharded_state_and_accumulated_gradients_has_the_numbers_of_a_plain_one",
    "python main.py *--dry_run": "tests/programs/test_messages.py::test_a_dry_run_builds_a_command_and_writes_nothing",
    "python main.py *--config.model.name=tiny": "tests/slow/test_recipes.py::"
    "test_the_experiment_of_the_recipes_trains_with_the_new_sde_predictor_and_network",
    # A RefineNet, and data of 1024 pixels: made small there, and through the programs; or lowered only.
    "python main.py --config=configs/ve/ncsn*/*.py --workdir=DIR --mode=train": "tests/slow/test_experiments.py::"
    "test_it_takes_two_steps_samples_and_has_a_likelihood",
    "python main.py --config=configs/v*celebahq*.py --workdir=DIR --mode=train": "tests/programs/test_configs_train.py::"  # noqa: E501
    "test_the_training_step_is_lowered_by_a_plan",
    "python main.py --config=configs/vp/volumes_ddpmpp_continuous.py * --mode=eval": "tests/programs/test_ranks.py::"
    "test_data_of_every_rank_are_trained_sampled_and_measured",
    "python main.py --config=configs/flow/shortcut_images.py *": "tests/programs/test_few_steps.py::"
    "test_a_run_from_a_model_of_flow_matching_resumes_bit_for_bit_and_on_eight_devices",
    "python main.py --config=configs/flow/*_digits.py *": "tests/programs/test_few_steps.py::"
    "test_a_run_from_a_model_of_flow_matching_resumes_bit_for_bit_and_on_eight_devices",
    "python main.py *--config.sampling.start=gaussian*": "tests/programs/test_starts.py::"
    "test_a_gaussian_start_has_the_mean_and_the_total_variance_of_the_training_examples",
    "python main.py *--config.sampling.start=optimal_transport*": "tests/programs/test_starts.py::"
    "test_samples_start_at_training_examples_by_a_map_that_is_kept",
    "python main.py *--task=edit *": "tests/programs/test_starts.py::test_examples_of_a_users_own_are_edited",
    "python -m benchmarks.few_steps *": "tests/programs/test_few_steps.py::"
    "test_a_model_samples_in_as_many_calls_as_steps_and_by_a_solver",
    "python main.py *--config.training.init_from=OTHER:3": "tests/programs/test_stages.py::"
    "test_a_run_starts_from_the_averaged_parameters_of_another",
    "python main.py *--input=series.npy --mask=observed.npy": "tests/programs/test_ranks.py::"
    "test_examples_of_every_rank_are_inpainted_from_the_command_line",
    "python main.py *--model=NAME.model*": "tests/programs/test_model_folder.py::"
    "test_the_command_samples_from_a_folder_as_from_the_run",
    "python main.py --config=configs/latent/digits*.py *": "tests/programs/test_latent.py::"
    "test_the_documented_models_of_latents_and_tokens_train",
    "python main.py --config=configs/vqddm/*_tokenizer.py *": "tests/programs/test_latent.py::"
    "test_the_documented_models_of_latents_and_tokens_train",
    "python main.py --config=configs/resgen/digits.py *": "tests/programs/test_resgen.py::"
    "test_a_run_resumes_bit_for_bit_trains_alike_on_eight_devices_and_is_evaluated",
    "python main.py --config=configs/resgen/digits_independent.py *": "tests/unit/systems/test_contract.py::"
    "test_every_evaluation_summarizes_and_every_column_is_shown",
    "python main.py --config=configs/resgen/digits_autoregressive.py *": "tests/unit/systems/test_contract.py::"
    "test_every_evaluation_summarizes_and_every_column_is_shown",
    "python main.py --workdir=runs/digits_resgen --mode=sample *": "tests/unit/systems/test_contract.py::"
    "test_a_sample_depends_on_its_own_key_only",
    "python main.py --config=configs/resgen/*_tokenizer.py *": "tests/programs/test_latent.py::"
    "test_the_documented_models_of_latents_and_tokens_train",
    "python main.py --config=configs/vqddm/*_tokens.py *": "tests/programs/test_latent.py::"
    "test_a_model_of_tokens_is_one_of_the_data",
    "python main.py *--mode=encode*": "tests/programs/test_latent.py::"
    "test_an_encoded_data_set_is_data_for_another_model",
    "python main.py --workdir=runs/complex --mode=eval *": "tests/programs/test_medical.py::"
    "test_complex_images_and_masks_have_a_training_step_and_their_evaluations",
    "python main.py --config=configs/medical/*.py *": "tests/unit/configs/test_configs.py::"
    "test_every_config_is_locked_and_valid_and_builds",  # and traced in tests/programs/test_medical.py
    "python main.py --workdir=runs/heads* --mode=eval *reconstruction*": "tests/programs/test_medical.py::"
    "test_an_evaluation_reconstructs_as_a_request_does_and_can_be_resumed",
    "python main.py --workdir=runs/heads* --mode=eval *anomaly*": "tests/unit/systems/test_contract.py::"
    "test_every_evaluation_summarizes_and_every_column_is_shown",
    "python main.py --workdir=runs/heads* --mode=sample *": "tests/programs/test_medical.py::"
    "test_k_space_in_a_file_is_reconstructed_from_the_lines_that_it_has",
    "python -m benchmarks.frameworks *": "tests/programs/test_medical.py::"
    "test_the_benchmark_compares_samples_with_mixtures",
    "python main.py --workdir=runs/masks *": "tests/programs/test_medical.py::"
    "test_an_ensemble_of_masks_is_compared_with_a_pixelwise_baseline",
    "python main.py --config=configs/causal/*.py *": "tests/unit/configs/test_configs.py::"
    "test_every_config_is_locked_and_valid_and_builds",  # such a model is trained in tests/programs/test_causal.py
    "python main.py --workdir=runs/pendulum --mode=sample *": "tests/programs/test_causal.py::"
    "test_a_counterfactual_sets_one_variable_and_shifts_another",
    "python main.py --workdir=runs/pendulum --mode=eval*": "tests/unit/systems/test_contract.py::"
    "test_every_evaluation_summarizes_and_every_column_is_shown",
    "python -m benchmarks.paired*": "tests/unit/evaluation/test_paired.py::"
    "test_differences_of_the_same_examples_have_their_own_error",
    "python main.py --config=configs/mmar/*.py *": "tests/programs/test_mmar.py::"
    "test_levels_as_categories_and_own_captions_train_and_sample",
    "python main.py --workdir=runs/digits_words --mode=sample *": "tests/programs/test_mmar.py::"
    "test_images_of_texts_and_texts_of_images",
    "python main.py --workdir=runs/digits_words --mode=eval*": "tests/programs/test_mmar.py::"
    "test_two_workers_write_the_report_of_one",
    "python main.py --config=configs/autoregressive/*.py *": "tests/programs/test_autoregressive.py::"
    "test_eight_devices_have_the_losses_of_one_and_texts_of_images_are_written",
    "python main.py --workdir=runs/digits_raster --mode=sample *": "tests/programs/test_autoregressive.py::"
    "test_eight_devices_have_the_losses_of_one_and_texts_of_images_are_written",
    "python main.py --workdir=runs/digits_raster --mode=eval*": "tests/unit/systems/test_contract.py::"
    "test_every_evaluation_summarizes_and_every_column_is_shown",
    "python -m benchmarks.unified*": "tests/slow/test_unified.py::"
    "test_the_comparison_of_families_writes_tables_and_what_they_show",
    "python main.py *--task=refine *": "tests/programs/test_series.py::test_a_forecast_is_refined",
    "python main.py *--task=synthesize *": "tests/programs/test_series.py::"
    "test_synthetic_series_are_a_table_to_train_on",
    "python main.py *--config.model.conditions=*context:concat*": "tests/programs/test_series.py::"
    "test_a_network_that_is_conditioned_on_the_context_forecasts_from_it",
    "python main.py --config=configs/tsdiff/*.py * --mode=eval": "tests/programs/test_series.py::"
    "test_an_evaluation_has_forecasts_and_imputations_beside_baselines",
    "python -m benchmarks.series_refine *": "tests/programs/test_series.py::"
    "test_benchmarks_of_a_run_print_their_tables",
    "python -m benchmarks.series_likelihood *": "tests/programs/test_series.py::"
    "test_benchmarks_of_a_run_print_their_tables",
    "python -m benchmarks.series_forecasts *": "tests/programs/test_series.py::"
    "test_one_checkpoint_forecasts_and_imputes",
    "make demo": "tests/slow/test_docs_commands.py::test_the_commands_of_the_demo_run",
    "make setup": "tests/slow/test_docs_commands.py::test_setting_up_is_the_first_part_of_what_integration_runs",
    "until python main.py *": "tests/slow/test_docs_commands.py::test_the_loop_starts_again_what_was_killed",
    "make check": ".ci/run",
    "make docs": ".ci/run",
    "make test": ".ci/run",
    "make test-slow": ".ci/run",
    "make test-plan": ".ci/run",
}
NOT_EXECUTED = {
    ". .venv/bin/activate": "only sets PATH of the shell that it is typed into",
    '.venv/bin/pip install "jax[[]*': "downloads what only a machine with a GPU or TPU can load",
    "pip install tensorflow-cpu": "TensorFlow is no requirement, and downloading it is most of what the command does",
    "make tensorboard*": "serves pages until it is stopped",
    "pip install -r requirements-plan*": "hundreds of megabytes; tests/slow/test_accelerators.py is skipped without",
    "python -m benchmarks.scaling_plans": "needs the compiler for TPUs, and hours; a step is that of --mode=plan",
    "pip install wandb": "a tracker, which is no requirement",
    "pip install h5py nibabel pydicom": "for files of scanners, which is no requirement",
    "pip install statsmodels*": "for one benchmark; it is one of the packages that the tests need",
    "pip install --no-deps aeon*": "for series that are no part of the repository; tests/unit/data/test_series.py",
    "tfds build *": "needs TensorFlow, and downloads a data set",
    "gcloud *": "needs a TPU pod",
    "make test-all": "is `make test` and `make test-slow`",
    ".venv/bin/python -m pytest *": "is a part of `make test`, which would run itself",
}
TORCH = ("data", "against_torch", "categories_against_torch", "dit_against_torch")
if importlib.util.find_spec("torch") is None:
    for pattern in TORCH:
        NOT_EXECUTED[f"python -m benchmarks.{pattern}*"] = (
            "compares with PyTorch, which is no requirement and is not installed"
        )


@pytest.fixture(scope="module")
def stage(tmp_path_factory, data_dir):
    return Stage(tmp_path_factory.mktemp("stage"), data_dir)


@pytest.fixture(autouse=True, scope="module")
def _perceptron():
    with pytest.MonkeyPatch.context() as patch:
        perceptron.register(patch)
        yield


@pytest.fixture(autouse=True, scope="module")
def _random_bits_that_compile_quickly():
    with jax.default_prng_impl("unsafe_rbg"):
        yield


@pytest.fixture(autouse=True)
def _as_in_a_process_of_its_own(monkeypatch):
    """Signals and logging are as they were afterwards; one device; the cache of the tests."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    monkeypatch.setattr(main, "set_up", lambda: None)
    monkeypatch.setattr("programs.run.make_devices", lambda config, chosen: make_devices(config, jax.devices()[:1]))
    monkeypatch.setenv("MPLBACKEND", "Agg")
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def run_main(stage, monkeypatch):
    """`run_main(words)` executes a command of main.py, and the training that it needs; the folder in which it did.

    `stored`: what the command leaves to the checkpoint.
    """

    def run(words, stored=()):
        subject, mode = Subject([*stored, *words]), value_of(words, "mode")
        folder = stage.folder(subject)
        key = " ".join(subject.training)
        if mode in ("eval", "sample", "export"):
            lay(key, subject, folder / subject.workdir)
        if guide := value_of(words, "config.eval.classifier_workdir"):
            other = Subject(["--config=configs/subvp/digits_classifier.py"])
            lay(" ".join(other.training), other, folder / guide)
        if mode == "metrics" and (stats := value_of(words, "stats")):
            (writes,) = [text for text in WRITTEN if f" --mode=stats --stats={stats} " in f"{text} "]
            shutil.copy(run(WRITTEN[writes].words[2:]) / stats, folder)
        appended = [flag.format(number=1, tfds=stage.data_dir) for flag in subject.flags(mode)]
        execute([*words, *appended, *special(words, mode)], folder, subject.is_stock)
        if mode == "train" and not set(words) - set(subject.training) - {f"--workdir={subject.workdir}"}:
            stage.trained.setdefault(key, folder / subject.workdir)
        return folder

    def lay(key, subject, place):
        if key not in stage.trained:
            run(subject.training)
        stage.lay(key, place)

    def execute(words, folder, is_stock):
        monkeypatch.chdir(folder)
        monkeypatch.syspath_prepend(str(folder))
        own = flags_of_main(words)
        with monkeypatch.context() as patch:
            patch.setattr(main, "FLAGS", own)
            with mocked(24) if is_stock else contextlib.nullcontext():
                code = main.main(main.parse(["main.py", *words]))
        assert code == 0, f"{' '.join(words)}: exit code {code}"

    return run


# What runs ----------------------------------------------------------------------------------------------------------


def where(text):
    """What the tables say of a command: ("elsewhere", test), ("not", reason), or None: it is executed here."""
    for kind, table in (("elsewhere", ELSEWHERE), ("not", NOT_EXECUTED)):
        for pattern, said in table.items():
            if fnmatch.fnmatchcase(text, pattern):
                return kind, said
    return None


def of_program(program):
    return [text for text in WRITTEN if text.startswith(f"python {program}") and not where(text)]


def of_main():
    """Commands of main.py; of trainings that become one and the same when they are small the first, for all of them."""
    found = {}
    for text in of_program("main.py"):
        words = WRITTEN[text].words[2:]
        subject = Subject([*WRITTEN[text].stored, *words])
        is_plain = not set(words) - set(subject.training) - {f"--workdir={subject.workdir}"}
        found.setdefault(subject.small() if is_plain else text, text)
    return list(found.values())


def short(text):
    return f"{WRITTEN[text]}" if text in WRITTEN else text


@pytest.mark.parametrize("text", of_main(), ids=short)
def test_a_command_of_main_runs(text, run_main):
    words = WRITTEN[text].words[2:]
    folder = run_main(words, WRITTEN[text].stored)
    expected = {"train": "{workdir}/checkpoints/*", "eval": "{workdir}/eval*/ckpt_*/report.json", "stats": "{stats}"}
    expected |= {"sample": "{workdir}/sample/*/samples.npz", "import": "{workdir}/checkpoints/24"}
    if output := value_of(words, "output"):
        expected["sample"] = f"{output}/samples.npz"
    if pattern := expected.get(value_of(words, "mode")):
        written = pattern.format(workdir=value_of(words, "workdir"), stats=value_of(words, "stats"))
        assert list(folder.glob(written)), f"{text}: no {written}"


@pytest.mark.parametrize("text", of_program("-m benchmarks"), ids=short)
def test_a_benchmark_runs(text, stage, run_main, monkeypatch, capsys):
    module, *given = WRITTEN[text].words[2:]
    folder = stage.folder()
    if (config := value_of(given, "config")) and (workdir := value_of(given, "workdir")):
        subject = Subject([f"--config={config}"])
        if (key := " ".join(subject.training)) not in stage.trained:
            run_main(subject.training)
        stage.lay(key, folder / workdir)
        given += [flag.format(tfds=stage.data_dir) for flag in subject.flags("train")]
    if module == "benchmarks.classes":
        (folder / given[0]).parent.mkdir(parents=True)
        np.savez(folder / given[0], arr_0=np.zeros((4, 8, 8, 1), np.uint8), labels=np.arange(4))
    appended = [flag.format(tfds=stage.data_dir) for flag in OF_BENCHMARK[module.split(".")[1]]]
    monkeypatch.setenv("XLA_FLAGS", f"{XLA_FLAGS} {DEVICES}=1")  # this process has its devices
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", [module, *given, *appended])
    assert not importlib.import_module(module).main()
    assert capsys.readouterr().out.strip()


def test_the_commands_of_a_sweep_run(stage):
    """One of them trains and evaluates; the next find all done."""
    one = stage.root / "one.py"
    one.write_text("def get_sweep():\n    return [{'seed': 1}]\n")
    subject = Subject(["--config=configs/subvp/digits_ddpmpp_continuous.py"])
    flags = [flag.format(number=1, tfds=stage.data_dir) for flag in subject.flags("eval", in_process=False)]
    folder = stage.folder(subject)
    texts = sorted(of_program("sweep.py"), key=lambda text: "--config" not in text)
    assert len(texts) >= 3
    for text in texts:
        words = WRITTEN[text].words[2:]
        appended = [f"--sweep={one}", *flags] if value_of(words, "config") else []
        done = subprocess.run(
            [sys.executable, str(ROOT / "sweep.py"), *words, *appended], cwd=folder, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{text}: {done.stdout}{done.stderr}"
    assert "1 finished" in done.stdout or (folder / "DIR" / "report.html").is_file()


# What is listed -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [text for text in [*WRITTEN, *OTHERS] if where(text)], ids=short)
def test_a_command_that_is_not_executed_here_is_executed_elsewhere_or_has_a_reason(text):
    kind, said = where(text)
    if kind == "not":
        pytest.skip(f"{text}: {said}")
    if said == ".ci/run":
        assert text.removeprefix("make ") in made_in_integration()
        return
    file, test = said.split("::")
    assert f"\ndef {test}(" in (ROOT / file).read_text(encoding="utf-8"), said


def test_every_line_for_a_shell_is_in_a_table_and_every_row_is_needed():
    assert [line for line in OTHERS if not where(line)] == []
    known = ("main.py", "sweep.py", "-m")
    assert all(command.words[1] in known for command in COMMANDS)
    for pattern in [*ELSEWHERE, *NOT_EXECUTED]:
        assert fnmatch.filter([*WRITTEN, *OTHERS], pattern), f"{pattern} is on no page"
    benchmarks = {WRITTEN[text].words[2].split(".")[1] for text in of_program("-m benchmarks")}
    assert benchmarks | {*TORCH} == OF_BENCHMARK.keys()


def made_in_integration():
    """The targets that .ci/run makes, in order, and where it waits for what it has started."""
    found = re.findall(r"^ *(wait|make .*)$", (ROOT / ".ci/run").read_text(encoding="utf-8"), re.M)
    return [word for line in found for word in line.split() if word != "make"]


def recipe_of(target):
    """The lines that `make` would execute for a target."""
    # A make inside `make test` would take over its options and tell the folders that it enters and leaves.
    of_make = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES")
    environment = {name: value for name, value in os.environ.items() if name not in of_make}
    command = ["make", "--no-print-directory", "--dry-run", target]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    return logical_lines(done.stdout)


def test_the_commands_of_the_demo_run(run_main):
    lines = recipe_of("demo")
    found = [re.search(r"main\.py (.*)", line) for line in lines if not line.startswith("echo ")]
    suggested = " ".join(line.removeprefix('echo "').strip('"\\ ') for line in lines if line.startswith("echo "))
    found.append(re.search(r"main\.py (\S* --mode=sample .*?) train on your images", suggested))
    demo = [words[1].split() for words in found if words]
    assert [value_of(words, "mode") for words in demo] == ["train", "train", "eval", "sample"]
    *folders, sampled = [run_main(words) for words in demo]
    assert (folders[-1] / "runs/demo/eval/ckpt_1/report.json").exists()
    assert (sampled / "runs/demo/sample/unconditional/samples.npz").exists()


def test_setting_up_is_the_first_part_of_what_integration_runs():
    rules = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(r"^setup: \.venv/\.run$", rules, re.M)
    assert re.search(r"^\.venv/\.dev: .*\.venv/\.run$", rules, re.M)
    for target in ("check", "docs", "test-unit", "test-programs test-slow: test-%"):
        assert re.search(rf"^{target}: \.venv/\.dev$", rules, re.M)
    made = made_in_integration()
    assert made.index("test") < made.index("wait") < made.index("test-slow")  # for what is installed meanwhile
    tiers = {path.name for path in (ROOT / "tests").iterdir() if list(path.rglob("test_*.py"))}
    test, slow, everything = (
        [line for line in recipe_of(target) if " -m pytest " in line] for target in ("test", "test-slow", "test-all")
    )
    assert tiers == {line.rpartition(" tests/")[2] for line in everything} == {"unit", "programs", "slow"}
    assert everything == test + slow


def test_the_loop_starts_again_what_was_killed(tmp_path):
    (loop,) = [line for line in OTHERS if line.startswith("until ")]
    (tmp_path / "codes").write_text("5\n137\n6\n143\n0\n3\n")
    program = """
python() { code=$(head -1 codes); sed -i 1d codes; return "$code"; }
sleep() { :; }
"""
    shell = loop.replace("; do ", "; do\n").replace(" done", "\ndone")
    for left in ("3\n", ""):  # it ends with the first 0, and with what does not call for the same command
        subprocess.run(["bash", "-c", program + shell], cwd=tmp_path, check=True)
        assert (tmp_path / "codes").read_text() == left
