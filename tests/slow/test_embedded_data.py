"""What a process that reads an embedded data set imports."""

import subprocess
import sys


def test_embedded_data_need_neither_tensorflow_nor_pytorch_nor_tfds():
    program = (
        "import sys; from data.stock import load; import reports.records, evaluation.tasks.per_example, data.pipeline\n"
        "print('examples', len(load('digits', 'train')))\n"
        "found = {name.split('.')[0] for name in sys.modules} & {'tensorflow', 'torch', 'tensorflow_datasets'}\n"
        "assert not found, f'not needed: {found}'"
    )
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0 and "examples 1497" in done.stdout, done.stderr
