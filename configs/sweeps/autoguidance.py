"""A trained model guided by a weaker one, at several scales and down to several noise levels: seven evaluations.

python main.py --workdir=DIR --mode=export --checkpoint=NAME.model
python sweep.py --config=configs/edm2/digits.py --sweep=configs/sweeps/autoguidance.py --root=runs/autoguidance \\
    --eval --model=NAME.model --config.sampling.guidance=autoguidance --config.sampling.guide_workdir=DIR \\
    --config.sampling.guide_checkpoint=1

The guide is checkpoint 1 of the same run. Nothing is trained.
"""

from typing import Any

SAMPLES = {"eval.enable_bpd": False, "eval.enable_loss": False, "eval.enable_metrics": True}


def get_sweep() -> list[dict[str, Any]]:
    """Scale 1, which is no guidance; 1.5 and 2.5 at all noise levels, below sigma = 2, and below 0.5."""
    guided = [
        {"sampling.guidance_scale": scale, **({} if high is None else {"sampling.guidance_max_sigma": high})}
        for scale in (1.5, 2.5)
        for high in (None, 2.0, 0.5)
    ]
    return [SAMPLES | run for run in ({"sampling.guidance_scale": 1.0}, *guided)]
