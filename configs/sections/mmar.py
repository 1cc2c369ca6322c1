"""Settings of sequences of a text and image tokens (`config.system = "mmar"`)."""

from configs.checks import NON_NEGATIVE, POSITIVE, PROBABILITY, each, must, one_of
from configs.keys import Key

NEEDS = "system=mmar"
RANGE = must(
    "be (LOW, HIGH) with 0 <= LOW <= HIGH <= 1",
    lambda value: (
        len(value) == 2 and all(isinstance(end, int | float) for end in value) and 0 <= value[0] <= value[1] <= 1
    ),
)
SHARES = must(
    "be three numbers that are not negative, with the sum 1",
    lambda value: (
        len(value) == 3
        and all(isinstance(share, int | float) and share >= 0 for share in value)
        and abs(sum(value) - 1) < 1e-6
    ),
)

KEYS = {
    "head": Key(
        "diffusion",
        "What samples an image token: `diffusion`, a score model of patches of numbers, or `categories`, logits of the "
        "tokens of a codebook or of the levels of each pixel.",
        one_of("diffusion", "categories"),
        changes="model",
        needs=NEEDS,
    ),
    "head_nf": Key(
        24,
        "A quarter of the width of the head.",
        POSITIVE,
        changes="model",
        needs="mmar.head=diffusion",
    ),
    "head_blocks": Key(3, "Residual blocks of the head.", POSITIVE, changes="model", needs="mmar.head=diffusion"),
    "head_samples": Key(
        2,
        "Times and noises of each masked token in a training step.",
        POSITIVE,
        changes="model",
        mismatch="stored",
        needs="mmar.head=diffusion",
    ),
    "shares": Key(
        (0.5, 0.4, 0.1),
        "How often training sees an image and its text, a text and its image, and an image without text, on which "
        "classifier-free guidance rests.",
        SHARES,
        changes="model",
        mismatch="stored",
        needs=NEEDS,
    ),
    "mask_share": Key(
        (0.0, 1.0),
        "Share of masked image tokens in training: uniform between these two.",
        RANGE,
        changes="model",
        mismatch="stored",
        needs=NEEDS,
    ),
    "first_mask_share": Key(
        (0.7, 1.0),
        "The same in the first stage of training.",
        RANGE,
        changes="model",
        mismatch="stored",
        needs="mmar.first_stage_steps",
    ),
    "first_stage_steps": Key(
        0,
        "Steps of the first stage of training.",
        NON_NEGATIVE,
        changes="model",
        mismatch="stored",
        needs=NEEDS,
    ),
    "hidden_share": Key(
        0.0,
        "Largest share of image tokens that are masked where training predicts the text, which regularizes.",
        PROBABILITY,
        changes="model",
        mismatch="stored",
        needs=NEEDS,
    ),
    "evaluated_shares": Key(
        (0.1, 0.3, 0.5, 0.7, 0.9),
        "Evaluation `head_likelihood`: shares of masked image tokens.",
        each("a share", "be above 0 and at most 1", lambda share: 0 < share <= 1, int | float, may_be_empty=False),
        changes="evaluation",
        needs=NEEDS,
    ),
    "rounds": Key(
        8,
        "Rounds of sampling; each reveals some image tokens.",
        POSITIVE,
        changes="evaluation",
        needs=NEEDS,
    ),
}
