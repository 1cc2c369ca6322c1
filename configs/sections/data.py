"""Settings of the data: which, of what shape, how they are read, and how the network sees them."""

import re

from configs.checks import NON_NEGATIVE, POSITIVE, PROBABILITY, SIZES, must, one_of
from configs.keys import Key

LAGS = r"none|frequency|\d+(,\d+)*"

KEYS = {
    "dataset": Key(
        "CIFAR10",
        "A name (`CIFAR10`, `digits`, `LSUN`, ...) or your own data: `folder:PATH`, `zip:PATH`, `npy:PATH`, "
        "`npz:PATH`, `cifar10:PATH`, `hf:PATH` (Hugging Face), `wds:PATH` (WebDataset), `series:PATH` (time series), "
        "`scans:PATH` (NIfTI, DICOM, HDF5), `tfds:NAME`, `encoded:PATH` (what `--mode=encode` wrote) or a function "
        "`package.module:function`. Empty: has to be given on the command line.",
        changes="model",
        mismatch="given",
    ),
    "category": Key(str, "Category of LSUN: `bedroom` or `church_outdoor`.", changes="model", mismatch="given"),
    "data_dir": Key(str, "Where TFDS keeps data sets; unset: its own default.", changes="nothing"),
    "image_size": Key(
        32, "Height and width in pixels; of your own images, the size after `resize`.", POSITIVE, changes="model"
    ),
    "num_channels": Key(3, "Channels; read from your own data.", POSITIVE, changes="model"),
    "shape": Key(
        (),
        "Shape of an example: vectors (D,), series (L, C), images (H, W, C), volumes (D, H, W, C). Empty: (image_size, "
        "image_size, num_channels), or what your own data have.",
        SIZES,
        changes="model",
    ),
    "num_levels": Key(
        int,
        "Number of levels of your own integer data; unset: 256 for 8 bits, 65536 for 16 bits. Floats have none. Image "
        "files are reduced to 8 bits by 256 and keep 16 bits, in color too, by 65536.",
        POSITIVE,
        changes="model",
    ),
    "resize": Key(
        str,
        "How your own images are resized: `crop` (to the center) or `stretch`; unset: they must have one size.",
        one_of("crop", "stretch"),
        changes="model",
    ),
    "background": Key(
        "white",
        "The color behind transparent pixels of your own images: `white`, `black` or `gray`.",
        one_of("white", "black", "gray"),
        changes="model",
    ),
    "test_every": Key(
        10,
        "Your own data without folders `train` and `test`: hold out every n-th example as test data; 0: both splits "
        "are all of the data.",
        NON_NEGATIVE,
        changes="model",
    ),
    "horizon": Key(
        0,
        "Time series: how many values at the end of a window are forecast; those before them, its context, scale it.",
        NON_NEGATIVE,
        changes="model",
    ),
    "lags": Key(
        "none",
        "Time series: earlier values as further channels, `none`, by `frequency` (hourly: weeks, daily: months, weekly "
        "and monthly: years), or numbers of steps, such as `12,24`.",
        must("be none, frequency, or numbers such as 12,24", lambda lags: bool(re.fullmatch(LAGS, lags))),
        changes="model",
    ),
    "test_share": Key(
        0.25,
        "Time series: the share at the end of each series that is held out.",
        PROBABILITY,
        changes="model",
    ),
    "on_corrupt": Key(
        "refuse",
        "What to do about images of your own that cannot be read: `refuse` or `skip` them.",
        one_of("refuse", "skip"),
        changes="model",
        mismatch="stored",
    ),
    "text_length": Key(
        int,
        "Captions of your own images: the most tokens of a text; unset: those of the longest.",
        POSITIVE,
        changes="model",
    ),
    "max_pixels": Key(
        2**26,
        "Height times width up to which image files are read: of your own data, and what is given as `--input`, "
        "`--mask`, `--samples` and `--reference`. WebP and 16 bits count twice. Decoding takes 12 bytes for each.",
        POSITIVE,
        changes="nothing",
    ),
    "cache_dir": Key(
        str, "Where your own images are cached after decoding; unset: in memory, up to 1 GiB.", changes="nothing"
    ),
    "offset": Key(
        0.0,
        "Of floats: the network sees (x - offset) / scale; `--mode=inspect` suggests both.",
        changes="model",
    ),
    "scale": Key(1.0, "See `offset`.", POSITIVE, changes="model"),
    "num_threads": Key(4, "Threads that read ahead, one batch each.", POSITIVE, changes="nothing"),
    "num_workers": Key(
        0,
        "Processes that read ahead instead, for decoding many small images; 0: threads.",
        NON_NEGATIVE,
        changes="nothing",
    ),
    "random_flip": Key(True, "Mirror training images with probability 1/2.", changes="model", mismatch="stored"),
    "augment": Key(
        0.0,
        "Probability of each of EDM's augmentations of images (0.12 there); needs `model.augment_dim = 9`.",
        PROBABILITY,
        changes="model",
        mismatch="stored",
    ),
    "centered": Key(True, "The network sees data in [-1, 1] instead of [0, 1].", changes="model"),
    "uniform_dequantization": Key(
        False, "Train on (u + U[0, 1)) / levels instead of u / (levels - 1).", changes="model"
    ),
}
# What data of a user's own determine, so that a run has other values than its config file; see `builders.data.resolve`.
RESOLVED = (
    "data.shape", "data.image_size", "data.num_channels", "data.num_levels", "data.random_flip", "data.centered",
    "data.uniform_dequantization",
)  # fmt: skip
