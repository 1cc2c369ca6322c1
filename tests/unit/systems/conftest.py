"""Systems are tested on a network that compiles in a moment; see `tests.support.perceptron`."""

from collections.abc import Iterator

import pytest

from tests.support import perceptron


@pytest.fixture(autouse=True, scope="module")
def _perceptron() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        perceptron.register(patch)
        yield
