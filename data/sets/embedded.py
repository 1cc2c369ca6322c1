"""Preparing the data sets that come with the requirements: written once by TFDS, without any download."""

import contextlib
import io
import os

import tensorflow_datasets as tfds


def prepare(kind: type[tfds.core.DatasetBuilder], data_dir: str | os.PathLike | None) -> tfds.core.DatasetBuilder:
    """The prepared builder in `data_dir` (None: TFDS' own default); writes the files on the first call.

    Processes that prepare at once each write their own folder and rename it; who comes second uses the first one's.
    """
    builder = kind(data_dir=data_dir, file_format="array_record")
    if builder.data_path.exists():  # it gets its name when it is complete
        return builder
    config = tfds.download.DownloadConfig(try_download_gcs=False)  # never ask the network for a data set we carry
    tfds.disable_progress_bar()  # it takes a second
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # TFDS announces a download, which this is not
            builder.download_and_prepare(download_config=config)
    except OSError:  # the folder cannot be renamed onto one that another process has finished
        if not builder.data_path.exists():
            raise
    return kind(data_dir=data_dir, file_format="array_record")
