"""Where the documented commands run: the flags appended to make them small, and the files that they name."""

import ast
import json
import shutil

import numpy as np
from PIL import Image

from configs import default
from tests.support import metric_fixtures as recipe
from tests.support import perceptron
from tests.support.configs import QUICK, load
from tests.support.documented import BLOCK
from tests.support.paths import ROOT
from tests.support.published import CHECKPOINTS, config_of

# What is appended ---------------------------------------------------------------------------------------------------

CONVOLUTIONS = ["model.nf=8", "model.ch_mult=(1,)", "model.num_res_blocks=1", "model.attn_resolutions=()"]
PERCEPTRON = [f"model.name={perceptron.NAME}", "model.nf=8", "model.num_res_blocks=1"]  # not in other processes
OF_NETWORK = {
    "ncsnpp": CONVOLUTIONS,
    "ddpm": CONVOLUTIONS,
    "mlp": ["model.nf=8"],
    "s4_residual": ["model.nf=4", "model.state_size=4", "model.num_res_blocks=1"],
    "dit": ["model.nf=4", "model.num_heads=2", "model.num_res_blocks=1"],
    "edm2": CONVOLUTIONS,
    "token_transformer": ["model.nf=4", "model.num_heads=2", "model.num_res_blocks=1"],
    "wideresnet": ["model.channel_multiplier=1"],
}
# Of the published experiments: few levels, what fits to few, and one value of what only scales a number.
LEVELS = [
    "model.num_scales=6", "model.beta_max=4.0", "model.sigma_max=10.0", "model.ema_rate=0.9", "model.dropout=0.1",
    "optim.lr=0.001", "optim.warmup=2", "optim.beta1=0.9",
]  # fmt: skip
EMBEDDED = ("digits", "photos", "co2", "tumours", "blobs", "phantoms")  # they have their sizes
FEW = "folder:FOLDER"  # three test images, for what takes a product for each dimension
OF_DATA = {
    "CIFAR10": ["data.image_size=8", *LEVELS],
    "CELEBA": ["data.image_size=8", *LEVELS],
    "LSUN": ["data.image_size=8", *LEVELS],
    "FFHQ": ["data.image_size=8", "data.data_dir=data", *LEVELS],
    "folder:PATH": ["data.image_size=8"],
    FEW: ["data.image_size=8"],
    "my_data:waves": [],
    **{f"series:{name}": [] for name in ("elnino", "co2", "sunspots", "FILE.csv")},
    **{name: ["data.data_dir={tfds}"] for name in EMBEDDED},
}
TRAINING = [
    "training.batch_size=8", "training.n_iters=2", "training.log_freq=1", "training.snapshot_freq=2",
    "training.snapshot_freq_for_preemption=2", "training.eval_freq=2", "training.snapshot_sampling=False",
]  # fmt: skip
FEW_STEPS = ["sampling.num_steps=3"]
EVALUATION = [
    "eval.begin_ckpt={number}", "eval.end_ckpt={number}", "eval.batch_size=152", "eval.num_samples=16",
    "eval.wait_seconds=1.0", "eval.rtol=0.1", "eval.atol=0.1", *FEW_STEPS,
]  # fmt: skip
OF_MODE = {
    "train": TRAINING,
    "eval": [*TRAINING, *EVALUATION],
    "sample": FEW_STEPS,
    "stats": ["eval.batch_size=152"],
    "metrics": ["eval.batch_size=152"],
    "inspect": [],
    "export": [],
}
SMALL_NETWORK = [f"--config.{flag}" for flag in (*CONVOLUTIONS, "training.batch_size=8")]
LINEAR = [f"--config.model.name={QUICK['model.name']}", "--config.training.batch_size=8"]
OF_BENCHMARK = {
    "categories_against_torch": ["--calls", "2", "--batch=8", "--repeats=1"],
    "classes": ["--data_dir={tfds}"],
    "data": ["--files=140", "--batches=1", "--repeats=1", "--sizes", "32"],
    "digits_baselines": ["--data_dir={tfds}", "--components", "1", "--categories", "uniform", "classes"],
    "dit_against_torch": ["--side=4", "--batch=2", "--repeats=1"],
    "distillation": ["--teacher_steps=2", "--steps=2", "--num=20"],
    "inverse": ["--series=2", "--samples=3", "--steps", "3", "--ways", "projection, 1 Langevin", "pigdm, jacobian"],
    "medical_baselines": ["--train=100", "--test=2", "--problems", "MRI, 8x"],
    "likelihood": ["--batch=1", "--repeats=1", "--tolerance=0.1", "--methods", "dopri5", "hutchpp 12"],
    "memory": ["--config=configs/vp/smoke.py", "--batch_sizes", "16", "--steps", "2", "--", *LINEAR],
    "on_device": ["--small", "--only", "peak bfloat16", "train DiT-S/2"],
    "overhead": ["--turns=1", *SMALL_NETWORK],
    "photo_crops": [],
    "scaling": ["--devices", "1", "4", "--only", "DiT-XL/2, latents"],
    "series_baselines": ["--samples=20"],
    "series_length": ["--lengths", "8", "16", "--repeats=1", "--width=8", "--state_size=8"],
    "series_oracle": ["--trials=2", "--samples=3"],
    "rank_baselines": ["--data_dir={tfds}"],
    "resgen": [
        "--models",
        "mixture:1",
        "--seeds=0",
        "--n_iters=4",
        "--classifier_iters=4",
        "--batch_size=8",
        "--num=20",
    ],
    "solvers": ["--num=50", "--em-steps=5", "--seeds=1", "--calls", "5", "6", "--samplers", "unipc_2", "ddim"],
    "starts": ["--targets=16", "--num=100", "--calls", "2", "--iterations=50"],
    "time_sampling": ["--batch=4", "--batches=2", "--sde", "VE"],
    "tokenizer_baselines": ["--codes", "4"],
    "train_step": ["--steps=1", "--repeats=1", *LINEAR],
    "sampling": ["--batch=8", "--repeats=1", "--config.sampling.num_steps=2", *LINEAR],
    "against_torch": [
        "--nf=8",
        "--batch=8",
        "--steps=1",
        "--train_steps=1",
        "--evaluations=1",
        "--repeats=1",
        "--tolerance=0.1",
    ],
    "weight_gradient": ["--repeats=1"],
}
CONFIG_OF_TASK = {"class": "digits_ddpmpp_conditional", "colorize": "photos_ddpmpp_continuous"}


def value_of(words, flag, otherwise=None):
    """The value of a flag in a command, the last one given; `otherwise` without it."""
    given = [word.split("=", 1)[1] for word in words if word.startswith(f"--{flag}=")]
    return given[-1] if given else otherwise


def is_exact(words):
    """Whether a command takes the exact divergence, 64 products for each evaluation."""
    return value_of(words, "config.eval.divergence") == "exact"


class Subject:
    """The config, data and workdir of a command."""

    def __init__(self, words):
        task = value_of(words, "task", "unconditional")
        path = value_of(words, "config")
        if path in ("CONFIG", None):  # a placeholder, or the config of the checkpoint
            path = f"configs/subvp/{CONFIG_OF_TASK.get(task, 'digits_ddpmpp_continuous')}.py"
        self.path, self.config = path, load(path)
        self.dataset = FEW if is_exact(words) else value_of(words, "config.data.dataset", self.config.data.dataset)
        self.workdir = value_of(words, "workdir")
        self.is_stock = self.dataset in ("CIFAR10", "CELEBA", "LSUN")  # mocked

    def flags(self, mode, in_process=True):
        """The flags appended to a command of this mode; some have placeholders for what is known only where it runs."""
        if mode == "import":  # the network is that of the file
            return []
        network = OF_NETWORK[self.config.model.name]
        if in_process and network is CONVOLUTIONS:
            network = PERCEPTRON
        return [f"--config.{flag}" for flag in [*network, *OF_DATA[self.dataset], *OF_MODE[mode]]]

    def small(self):
        """The small training config as text, without the sections that training does not read."""
        config = load(self.path)
        config.data.dataset = self.dataset
        for flag in self.flags("train"):
            key, value = flag.removeprefix("--config.").split("=", 1)
            is_text = key in ("data.data_dir", "model.name")
            config.update_from_flattened_dict({key: value if is_text else ast.literal_eval(value)})
        settings = default.to_json(config)
        return json.dumps({name: settings[name] for name in settings.keys() - {"eval", "sampling"}}, sort_keys=True)

    @property
    def training(self):
        """The command that trains the run that this one needs."""
        given = [] if self.dataset == self.config.data.dataset else [f"--config.data.dataset={self.dataset}"]
        return [f"--config={self.path}", "--workdir=DIR", "--mode=train", *given]


def special(words, mode):
    """Further flags that a few commands need."""
    flags = []
    if value_of(words, "config.eval.inception_weights"):  # with the published file's name goes the published hash
        flags.append("--config.eval.inception_weights=random.npz")
        flags.append("--config.eval.feature_batch_size=8")
        if mode == "eval":  # FID takes a root of 2048 x 2048 numbers for each of ten parts: `--mode=metrics` has two
            flags += ["--config.eval.num_samples=8", "--config.eval.metrics=('kid',)"]
    if is_exact(words):
        flags += [f"--config.data.dataset={FEW}", "--config.eval.batch_size=4"]
    if mode == "sample":
        flags.append("--num_samples=2")
    if mode == "import":
        config, golden = load(value_of(words, "config")), config_of("torch_ncsnpp_ve_cont")
        for key, (_, there) in default.differences(default.to_json(config), default.to_json(golden)).items():
            flags.append(f"--config.{key}={tuple(there) if isinstance(there, list) else there}")
    return flags


# Where commands run -------------------------------------------------------------------------------------------------


class Stage:
    """Folders with everything that commands name, and the workdirs that commands have trained."""

    def __init__(self, root, data_dir):
        self.root, self.data_dir, self.count, self.trained = root, data_dir, 0, {}
        self.inputs = root / "inputs"
        self.inputs.mkdir()
        draw = np.random.default_rng(0)
        for folder in ("PATH", "FOLDER", "FOLDER_OR_NPZ", "data/ffhq"):
            (self.inputs / folder).mkdir(parents=True)
            for index in range(2 if folder == "FOLDER_OR_NPZ" else 24):
                sides = (int(draw.integers(9, 20)), int(draw.integers(9, 20))) if folder == "PATH" else (8, 8)
                ending = "jpg" if folder == "PATH" and index % 2 else "png"
                picture = Image.fromarray(draw.integers(0, 256, (*sides, 3), np.uint8))
                picture.convert("L" if folder == "FOLDER" else "RGB").save(self.inputs / folder / f"{index}.{ending}")
        Image.fromarray(draw.integers(0, 16, (8, 8), np.uint8)).save(self.inputs / "A.png")
        Image.fromarray((np.arange(64).reshape(8, 8) % 2 * 255).astype(np.uint8)).save(self.inputs / "M.png")
        hours = np.datetime64("2024-01-01T00") + np.arange(2000)
        rows = "".join(f"{hour},{value}\n" for hour, value in zip(hours, draw.uniform(1, 2, 2000), strict=True))
        (self.inputs / "FILE.csv").write_text(f"time,value\n{rows}", encoding="utf-8")
        shutil.copy(CHECKPOINTS / "torch_ncsnpp_ve_cont" / "checkpoint_5.pth", self.inputs / "checkpoint_24.pth")
        np.savez(self.inputs / "random.npz", allow_pickle=False, **recipe.inception_state(recipe.inception_shapes()))
        for page in ("features", "data", "network", "system"):
            module = f"my_{page}.py"
            for block in BLOCK.finditer((ROOT / f"docs/howto/{page}.md").read_text(encoding="utf-8")):
                if block[2].startswith(f"# {module}"):
                    (self.inputs / module).write_text(block[2], encoding="utf-8")

    def folder(self, subject=None):
        """A new folder with the inputs; what commands write stays in it."""
        self.count += 1
        folder = self.root / str(self.count)
        folder.mkdir()
        for target in [ROOT / "configs", ROOT / "docs", *self.inputs.iterdir()]:
            (folder / target.name).symlink_to(target)
        if subject is not None:
            shutil.copy(ROOT / subject.path, folder / "CONFIG")
        return folder

    def lay(self, key, place):
        """Copies a trained workdir to `place`."""
        shutil.copytree(self.trained[key], place)
