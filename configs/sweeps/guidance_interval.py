"""Classifier-free guidance of a trained model in several intervals of noise levels: seven evaluations.

python main.py --workdir=DIR --mode=export --checkpoint=NAME.model
python sweep.py --config=configs/subvp/digits_ddpmpp_conditional.py --sweep=configs/sweeps/guidance_interval.py \\
    --root=runs/interval --eval --model=NAME.model --config.sampling.guidance=classifier_free

Nothing is trained.
"""

from typing import Any

SAMPLES = {"eval.enable_bpd": False, "eval.enable_loss": False, "eval.enable_metrics": True}
INTERVALS = ((0.0, None), (0.3, None), (0.0, 3.0), (0.3, 3.0), (0.0, 1.0), (1.0, None))


def get_sweep() -> list[dict[str, Any]]:
    """No guidance, and scale 2 at the noise levels in each of `INTERVALS`."""
    guided = [
        {"sampling.guidance_scale": 2.0, "sampling.guidance_min_sigma": low}
        | ({} if high is None else {"sampling.guidance_max_sigma": high})
        for low, high in INTERVALS
    ]
    return [SAMPLES | run for run in ({"sampling.guidance_scale": 1.0}, *guided)]
