"""A config file that fails is one sentence: where, and for a key that does not exist, which one is nearest."""

import pytest
from absl import flags
from ml_collections import config_flags

from configs.files import describe

# ml_collections reads a config file in a way that Python 3.12 will not have.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
HEAD = "from configs import default\n\n\ndef get_config():\n    config = default.get_config()\n    "
MODEL = "config.model.attention_type is not a setting; the nearest is config.model.embedding_type."


def error_of(words):
    """The error of parsing `words` as flags of a program with the flag --config."""
    own = flags.FlagValues()
    config_flags.DEFINE_config_file("config", None, "", flag_values=own, lock_config=True, sys_argv=["main.py", *words])
    with pytest.raises((flags.Error, AttributeError, KeyError)) as found:
        own(["main.py", *words])
    return found.value


@pytest.mark.parametrize(
    ("statement", "sentence"),
    [
        ("config.model.attention_type = 'ddpm'", MODEL),
        ("config.model.update(attention_type='ddpm')", MODEL),
        ("config['model']['attention_type'] = 'ddpm'", MODEL),
        (
            "config.optim.amsgrad or 1",
            "config.optim.amsgrad is not a setting; the nearest is config.optim.grad_clip.",
        ),
        ("config.modle.nf = 3", "config.modle is not a setting; the nearest is config.model."),
        ("config.model.nf = 'many'", "TypeError: Could not override field 'nf'"),
        ("{}['other']", "KeyError: 'other'"),
    ],
)
def test_an_error_in_a_config_file_is_one_sentence_with_its_line(tmp_path, statement, sentence):
    path = tmp_path / "mine.py"
    path.write_text(f"{HEAD}{statement}\n    return config\n", encoding="utf-8")
    assert describe(error_of([f"--config={path}"])).startswith(f"{path}, line 6: {sentence}")


def test_an_error_in_a_flag_keeps_its_message():
    error = error_of(["--config=configs/vp/smoke.py", "--config.training.batch_size=abc"])
    assert describe(error) == "flag --config.training.batch_size=abc: 'abc' is not an integer"
