# %% [markdown]
# # First contact: a model of handwritten digits
#
# Train a score-based model of scikit-learn's digits, sample from it, measure how likely digits are, restore half of a
# digit, and put the model into one folder that works anywhere. It takes a few minutes on two CPU cores.
#
# **On Colab**, the next cell gets the code and installs what it needs. Elsewhere it only finds the code: open this
# notebook in a clone, with the environment that `make setup` creates.

# %%
import json
import os
import pathlib
import subprocess
import sys

if "google.colab" in sys.modules:
    REPOSITORY = "https://github.com/YOUR_NAME/score_sde"  # the address of your copy of the code
    subprocess.run(["git", "clone", "--quiet", REPOSITORY, "score_sde"], check=True)
    os.chdir("score_sde")
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "-r", "requirements.txt"], check=True)
here = pathlib.Path.cwd()
sys.path[:0] = [str(path) for path in (here, *here.parents) if (path / "run_lib.py").exists()][:1]

# %%
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import run_lib
from builders.splits import Splits
from configs.subvp import digits_ddpmpp_continuous
from reports.sheets import sample_grid

# %% [markdown]
# ## A config
#
# A config has every setting, with a default. `SETTINGS` changes some by their names; here the length of the training.
# The environment variable is for the tests, which make everything small.

# %%
SETTINGS = {"training.n_iters": 800, "training.log_freq": 100}
SETTINGS |= json.loads(os.environ.get("NOTEBOOK_SETTINGS", "{}"))
WORKDIR = pathlib.Path("runs/first_contact")

config = digits_ddpmpp_continuous.get_config()
config.update_from_flattened_dict(SETTINGS)
digits = Splits(config).named("test").fetch(np.arange(8))
print(f"digits: {digits['x'].dtype} {digits['x'].shape}, labels {digits['label']}")

# %% [markdown]
# ## Training
#
# If the cell is interrupted, run it again: training goes on from its last checkpoint.

# %%
run_lib.train(config, WORKDIR)

# %% [markdown]
# ## Samples
#
# `load` takes the newest checkpoint, which knows its own config. The samples depend on the seed alone, and the sampler
# can be chosen anew: a multistep solver needs a few steps where the predictor-corrector sampler of the paper needs
# many.

# %%
model = run_lib.load(WORKDIR)


def show(x: np.ndarray, title: str, columns: int = 8) -> None:
    """Shows samples [N, 8, 8, 1] in rows."""
    plt.figure(figsize=(columns, 1 + len(x) // columns))
    plt.imshow(sample_grid(x, 17, columns).squeeze(-1), cmap="gray")
    plt.title(title)
    plt.axis("off")
    plt.show()


show(digits["x"], "test digits")
show(model.sample(16, sampler="unipc_3", steps=12, seed=1), "samples in 12 steps")

# %% [markdown]
# ## Likelihoods
#
# The probability-flow ODE gives the log-likelihood of any image: the log of the density of what the network sees, which
# the number of levels turns into bits per dimension. Digits are short messages, and the same pixels in another order
# are long ones.

# %%
from likelihood.dequantize import bits_per_dim

shuffled = np.random.default_rng(0).permuted(digits["x"].reshape(8, -1), axis=1).reshape(digits["x"].shape)
for name, x in {"digits": digits["x"], "shuffled": shuffled}.items():
    nats = jnp.asarray(model.log_likelihood(x))
    bits = bits_per_dim(nats, x[0].size, 17, config.data.centered)
    print(f"{name:<9} {bits.mean():.2f} bits/dim")

# %% [markdown]
# ## Latent codes
#
# The same ODE maps an image to a latent code and back.

# %%
codes = model.encode(digits["x"])
back = model.decode(codes)
print(f"largest difference after the round trip: {np.abs(back.astype(int) - digits['x']).max()} of 16 levels")

# %% [markdown]
# ## Restoration
#
# The upper half of each digit is known, and `restore` samples the whole given that half. `operator.measure` acts on
# what the network sees, which is in [-1, 1].

# %%
from sampling.inverse.operators.mask import mask

known = np.zeros((1, 8, 8, 1), bool)
known[:, :4] = True
operator = mask((8, 8, 1), known)
y = np.asarray(operator.measure(jnp.asarray((digits["x"] + 0.5) / 17 * 2 - 1)))
restored = model.restore(operator, y, num=3, prior_variance=0.25)
show(
    np.concatenate([digits["x"], *np.moveaxis(restored, 1, 0)]), "digits, and three restorations of their upper halves"
)

# %% [markdown]
# ## A model that stands alone
#
# One folder has all that sampling and likelihoods need. It can be copied to any machine with this code; data and
# workdir are not needed there.

# %%
from programs.convert import export_checkpoint

FOLDER = WORKDIR / "digits.model"
if not FOLDER.exists():
    export_checkpoint(config, WORKDIR, FOLDER)
copy = run_lib.load(FOLDER)
assert (copy.sample(4, seed=1) == model.sample(4, seed=1)).all()
print(*sorted(path.name for path in FOLDER.iterdir()))
