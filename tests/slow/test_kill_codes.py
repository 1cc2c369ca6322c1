"""Tokenizers and models of their tokens that are killed end as those that nobody touched; see `benchmarks/kill.py`."""

import pytest

from benchmarks import kill

# ml_collections reads a config file in a way that Python 3.12 will not have.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")

SMALL = {"model.nf": 4, "training.batch_size": 16, "training.snapshot_num_samples": 4, "sampling.num_steps": 4}
TOKENIZER = {
    "tokenizer.encoder": "patch",
    "tokenizer.decoder": "patch",
    "tokenizer.num_codes": 16,
    "tokenizer.codebook": "average",  # state beside the parameters
    "tokenizer.restart_below": 0.5,
    "tokenizer.reservoir": 512,
}
PRIOR = {"model.num_categories": 16, "model.num_heads": 2, "model.num_res_blocks": 1}


def killed(folder, path, changes):
    """The uninterrupted run, after comparing others with it that are killed."""
    experiment = kill.Experiment(f"configs/vqddm/{path}.py", SMALL | changes)
    results = list(kill.measure(kills=3, folder=folder, seed=1, steps=40, experiment=experiment))
    assert sum(sum(result["kills"].values()) for result in results) == 3
    for result in results:
        assert (result["exit_code"], result["different"], result["orphans"]) == (0, [], 0)
        assert result["compared"] >= 16
    return folder / "uninterrupted"


def test_killed_tokenizers_and_models_of_their_tokens_end_like_those_left_alone_to_the_last_bit(tmp_path):
    tokenizer = killed(tmp_path / "tokenizer", "digits_tokenizer", TOKENIZER)
    killed(tmp_path / "prior", "digits_tokens", PRIOR | {"model.stages": f"('tokenizer={tokenizer}',)"})
