"""Images of texts and texts of images: the tasks text_to_image and image_to_text of mode sample."""

import csv
import dataclasses
import functools
import io
import pathlib
from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from core.arrays import Array
from core.keys import RunKey, fold_in, keys_at
from data.fields import Field
from data.vocabulary import TEXT, Vocabulary
from reports.sheets import with_headings
from systems.requests.base import Input, Request, SampleFn, SampleResult, batch_size, images, in_batches
from systems.requests.generate import generated
from training.objectives.base import Variables

if TYPE_CHECKING:  # the system has a table of its tasks
    from systems.base import System
    from systems.texts import TextsAndImages


@dataclasses.dataclass(frozen=True)
class TextToImage(Request):
    """A number of images of each text: `prompt`, or the lines of a text file `prompts`."""

    prompt: str = ""
    prompts: pathlib.Path | None = None
    num_samples: int = 8


@dataclasses.dataclass(frozen=True)
class ImageToText(Input):
    """A number of texts of each image; of temperature 0 the likeliest token at a time."""

    num_samples: int = 1
    temperature: float = 0.0


def text_to_image(system: "System", request: TextToImage) -> SampleFn:
    """`num_samples` images of each text. Errors: ValueError for no text, and one that is not in the vocabulary."""
    field = system.spec.fields[TEXT]
    tokens = np.stack([_tokens(field, text, where) for text, where in _texts(request, field)])
    texts = np.repeat(tokens, request.num_samples, axis=0)
    return functools.partial(generated, system, {TEXT: texts}, len(texts), request.num_samples)


def _texts(request: TextToImage, field: Field) -> list[tuple[str, str]]:
    """The texts, and what an error calls each of them."""
    if request.prompts is not None and not request.prompt:
        try:
            lines = request.prompts.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"--request.prompts={request.prompts} cannot be read as text ({error}).") from error
        found = [(line, f"line {k} of {request.prompts}") for k, line in enumerate(lines, 1) if line.strip()]
        if not found:
            raise ValueError(f"--request.prompts={request.prompts} has no text; write one in each line.")
        return found
    if not request.prompt or request.prompts is not None:
        words = Vocabulary.of(field).words
        known = f"of the words {', '.join(words)}" if words else f"of at most {field.shape[0]} bytes"
        raise ValueError(
            f"--task={request.task} needs either --request.prompt=TEXT or --request.prompts=FILE with a text in each "
            f"line, {known}."
        )
    return [(request.prompt, f"--request.prompt={request.prompt!r}")]


def _tokens(field: Field, text: str, where: str) -> np.ndarray:
    """The tokens of a text. Errors: ValueError."""
    return Vocabulary.of(field).encode(text.strip(), field.shape[0], where).astype(field.dtype)


def image_to_text(system: "TextsAndImages", request: ImageToText) -> SampleFn:
    """Texts of the input, with their probabilities. Errors: ValueError for an input that cannot be read."""
    return functools.partial(_read, system, request, *images(system, request))


def _read(
    system: "TextsAndImages", request: ImageToText, names: list[str], x: np.ndarray, variables: Variables, number: int
) -> SampleResult:
    """The input with its first texts, and the table texts.csv of all of them."""
    count, S = len(x) * request.num_samples, request.num_samples
    key = fold_in(fold_in(system.key, RunKey.SAMPLE), number)

    def texts_of(rows: np.ndarray) -> dict[str, Array]:
        keys, values = system.devices.shard_rows((keys_at(key, rows), x[rows // S]))
        texts = system.read(variables["params"], keys, values, request.temperature)
        return {**texts._asdict(), "num_evals": jnp.int32(system.model.text.shape[0])}

    found = in_batches(texts_of, count, batch_size(system, count), "reading")
    texts = [system.vocabulary.decode(tokens) for tokens in found["tokens"]]
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(("input", "text", "logp_nats"))
    for row, text in enumerate(texts):
        writer.writerow((names[row // S], text, f"{found['logp_nats'][row]:.4f}"))
    shown = with_headings(system.picture(x, 1), texts[::S], down=True)
    arrays = {
        "arr_0": x,
        "tokens": found["tokens"].reshape(len(x), S, -1),
        "logp_nats": found["logp_nats"].reshape(-1, S),
    }
    return SampleResult(
        shown, arrays, {"num_inputs": len(x), "num_evals": found["num_evals"]}, tables={"texts": table.getvalue()}
    )
