"""What is traced once for all parameters of a shape has the numbers of optax, bit for bit."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from training import optim
from training.ema import EMA
from training.leafwise import global_norm, map_leaves

SHAPES = {"a": (3, 3, 8, 16), "b": (3, 3, 8, 16), "c": (16,), "d": (16,), "e": (16,), "f": (7, 5)}


def stepped(tx, apply_updates, norm, average):
    """Parameters, state, average and norm after three steps, and the number of statements of the program."""

    @jax.jit
    def step(params, state, ema, grads):
        updates, state = tx.update(grads, state, params)
        params = apply_updates(params, updates)
        return params, state, average(ema, params), norm(grads)

    rng = np.random.default_rng(0)
    draw = lambda: {name: jnp.asarray(rng.normal(size=shape), jnp.float32) for name, shape in SHAPES.items()}  # noqa: E731
    params = draw()
    found = params, tx.init(params), params
    text = step.lower(*found, draw()).as_text()
    for _ in range(3):
        *found, norm_ = step(*found, draw())
    main = text[text.index("func.func public @main") :].split("func.func private")[0]
    return (*found, norm_), main.count(" = ")


def test_adam_with_clipping_and_an_average_is_that_of_optax_in_fewer_statements():
    schedule = optim.learning_rate(2e-4, warmup=2)
    ours, num = stepped(
        optim.optimizer("Adam", schedule, grad_clip=1.0),
        lambda params, updates: map_leaves(lambda p, u: p + u, params, updates),
        global_norm,
        lambda ema, params: EMA(0.999).update(ema, params, 1),
    )
    adam = optax.scale_by_adam(0.9, 0.999, 1e-8)
    theirs, num_theirs = stepped(
        optax.chain(optax.clip_by_global_norm(1.0), adam, optax.identity(), optax.scale_by_learning_rate(schedule)),
        optax.apply_updates,
        optax.tree.norm,
        lambda ema, params: jax.tree.map(lambda e, p: jnp.float32(0.999) * e + jnp.float32(0.001) * p, ema, params),
    )
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)  # checkpoints stay the same
    ema, ema_theirs = ours[2], theirs[2]
    for name in SHAPES:  # 1 - 0.999 and 0.001 in float32 differ by 5e-8 of a step
        np.testing.assert_allclose(ema[name], ema_theirs[name], rtol=1e-6)
    for found, expected in zip(
        jax.tree.leaves((*ours[:2], ours[3])), jax.tree.leaves((*theirs[:2], theirs[3])), strict=True
    ):
        np.testing.assert_array_equal(found, expected)
    assert num < num_theirs / 3
