"""A config file that the program cannot use: one line and an exit code."""

from core.errors import ExitCode


def test_a_published_key_that_does_not_exist_here_is_one_sentence_with_the_nearest(tmp_path, command_line):
    """It used to end in a dump of all fields of the section."""
    config = tmp_path / "mine.py"
    config.write_text(
        "from configs import default\n\n\ndef get_config():\n    config = default.get_config()\n"
        "    config.model.attention_type = 'ddpm'\n    return config\n",
        encoding="utf-8",
    )
    done = command_line(f"--config={config}", f"--workdir={tmp_path / 'run'}", "--mode=train")
    assert done.code == ExitCode.USER_ERROR
    assert done.error == (
        f"error: {config}, line 6: config.model.attention_type is not a setting; "
        "the nearest is config.model.embedding_type."
    )
