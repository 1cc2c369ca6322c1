"""Texts as tokens: words of a small vocabulary, or bytes."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np

from core.tables import nearest
from data.fields import Field

TEXT = "text"  # the field of a data set that has the tokens of a text
END = 0  # the token after the last one of a text, which also fills what is left of its field
NUM_BYTES = 256


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """The tokens of texts. `words`: token k + 1 is the word k; the words of a text are separated by spaces.

    Without words a token is a byte: a text is UTF-8 without the byte 0, which ends it.
    """

    words: tuple[str, ...] = ()

    @classmethod
    def of(cls, field: Field) -> Self:
        """The vocabulary of a field of tokens, whose `class_names` are the words."""
        return cls(field.class_names)

    @property
    def num_tokens(self) -> int:
        """The number of different tokens, with `END`."""
        return len(self.words) + 1 if self.words else NUM_BYTES

    def field(self, length: int) -> Field:
        """The field of texts of at most `length` tokens."""
        dtype = "uint8" if self.num_tokens <= NUM_BYTES else "int32"
        return Field((length,), dtype, num_levels=self.num_tokens, class_names=self.words)

    def tokens(self, text: str, where: str = "the text") -> np.ndarray:
        """The tokens [n] of a text. Errors: ValueError for a word or byte that is not in the vocabulary."""
        if not self.words:
            found = np.frombuffer(text.encode(), np.uint8)
            if (found == END).any():
                raise ValueError(
                    f"{where} has the byte 0 at position {int(np.argmax(found == END))}, which is not in the "
                    "vocabulary because it ends a text; remove it."
                )
            return found.astype(np.int32)
        for word in text.split():
            if word not in self.words:
                raise ValueError(
                    f"{where} has the word {word!r}, which is not in the vocabulary, {', '.join(self.words)} "
                    f"(nearest: {nearest(word, self.words)})."
                )
        return np.array([self.words.index(word) + 1 for word in text.split()], np.int32)

    def encode(self, text: str, length: int, where: str = "the text") -> np.ndarray:
        """The tokens of a text, followed by `END` up to `length`. Errors: ValueError for a longer or an empty text."""
        tokens = self.tokens(text, where)
        if not 0 < len(tokens) <= length:
            unit = "words" if self.words else "bytes"
            raise ValueError(f"{where} has {len(tokens)} {unit}, but 1 to {length} are expected; give another text.")
        return np.pad(tokens, (0, length - len(tokens)), constant_values=END)

    def decode(self, tokens: Sequence[int] | np.ndarray) -> str:
        """The text of tokens [n], up to the first `END`; bytes that are no UTF-8 are replaced."""
        known = np.asarray(tokens, np.int64)
        known = known[: int(np.argmax(known == END))] if (known == END).any() else known
        if self.words:
            return " ".join(self.words[token - 1] for token in known)
        return known.astype(np.uint8).tobytes().decode(errors="replace")


def text_field(fields: Mapping[str, Field], dataset: str) -> Field:
    """The field of texts. Errors: ValueError for data without texts."""
    known = fields.get(TEXT)
    if known is None or not known.num_levels or len(known.shape) != 1:
        raise ValueError(
            f"{dataset} has no texts: its fields are {', '.join(fields)}; use data with a field {TEXT!r} of tokens, "
            "such as digits_words, or a folder of images with captions.csv."
        )
    return known
