"""Trackers that write what they get to a file; one fails for a while."""

import json


class Recorder:
    """Appends each line to `seen.jsonl` in the workdir."""

    def __init__(self, run_id, workdir, config):
        self._path = workdir / "seen.jsonl"
        self._write({"opened": run_id, "dataset": config.get("data", {}).get("dataset")})

    def _write(self, entry):
        with self._path.open("a") as file:
            file.write(json.dumps(entry) + "\n")

    def log(self, step, metrics):
        self._write({"step": step, **metrics})

    def image(self, step, name, image):
        self._write({"image": name, "at": step, "shape": list(image.shape)})

    def close(self):
        self._write({"closed": True})


class Unreachable(Recorder):
    """Cannot be reached as long as the workdir has a file `down`."""

    def __init__(self, run_id, workdir, config):
        self._down = workdir / "down"
        self._check()
        super().__init__(run_id, workdir, config)

    def _check(self):
        if self._down.exists():
            raise ConnectionError("no route to host")

    def log(self, step, metrics):
        self._check()
        super().log(step, metrics)


def seen(workdir):
    """What the tracker of a workdir got."""
    return [json.loads(line) for line in (workdir / "seen.jsonl").read_text().splitlines()]


def seen_lines(workdir):
    """The lines of metrics among it."""
    return [entry for entry in seen(workdir) if "step" in entry]
