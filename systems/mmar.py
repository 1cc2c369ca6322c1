"""One model of images and texts: it samples images given texts, and texts given images."""

import functools
import math
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from builders import data, likelihood
from builders.guidance import Asked, Guide
from builders.masked_ar import TextAndImage, guidance_scale, make_model
from builders.process import make_sde
from builders.sampler import describe
from core.arrays import Array
from core.keys import ExampleKey, LikelihoodKey, SequenceKey, fold_in
from core.target import float32_products
from corruption.masking import keys_of_tokens, known_after, masked, places
from data.vocabulary import TEXT
from evaluation.rounds import Task
from likelihood import dequantize
from models.networks.masked_ar import Sequence
from sampling.mask_rounds import MaskRounds, TokenModel
from systems.base import Context, Evaluation
from systems.evaluations.texts import head_likelihood, text_to_image, understanding
from systems.texts import TextsAndImages
from training.objectives.base import Batch, Params, Terms, Variables
from training.objectives.masked_ar import given, kinds, mean_over, text_nats, where_kind


class MMAR(TextsAndImages):
    """A backbone on a text and image tokens, and a head that samples each image token given the backbone's state.

    Source: Yang et al., "MMAR: Towards Lossless Multi-Modal Auto-Regressive Probabilistic Modeling", CVPR 2025.
    """

    model: TextAndImage
    sampler: MaskRounds

    def __init__(self, context: Context):
        super().__init__(context)
        config, spec = context.config, context.spec
        self.model = make_model(config, spec)
        if not config.mmar.rounds <= self.model.tokens.num_tokens:
            raise ValueError(
                f"config.mmar.rounds = {config.mmar.rounds}, but an image has {self.model.tokens.num_tokens} tokens "
                "and each round reveals at least one; use at most as many."
            )
        self.scale = guidance_scale(config)
        tokens, categories = self.model.tokens, bool(self.model.tokens.num_codes)
        if categories:
            self.prepare: Callable[[Array, Batch], Array] = lambda keys, batch: batch["x"]
            self.to_model, self.to_data = lambda x: jnp.asarray(x), lambda x: x.astype(spec.dtype)
        else:
            self.prepare = data.prepare(config, spec.num_levels)
            self.to_model, self.to_data = data.to_model(config, spec.num_levels), data.to_data(config, spec.num_levels)
        known = known_after(tokens.num_tokens, config.mmar.rounds)
        self.sampler = MaskRounds(known, tokens.blank, tokens.decode)
        self.head_sampler = "" if categories else describe(config)
        self.objective = self.terms

    def init(self, key: Array) -> Variables:
        """The backbone and the head."""
        return {"params": self.model.init(key)}

    def terms(self, variables: Variables, keys: Array, batch: Batch, dropout_key: Array | None, step: Array) -> Terms:
        """The cross-entropy of the text given the image, and the loss of masked image tokens given the others.

        Each example is one kind of sequence, with the probabilities `mmar.shares`; in [text][image] and [image] the
        share of masked tokens is uniform in a range of the stage of training.
        """
        settings, L = self.config.mmar, self.model.tokens.num_tokens
        params = self.devices.gather_params(variables["params"])
        image = self.model.tokens.encode(self.prepare(fold_in(keys, ExampleKey.DATA), batch))
        own, text = fold_in(keys, ExampleKey.SEQUENCE), jnp.asarray(batch[TEXT])
        kind = kinds(fold_in(own, SequenceKey.KIND), settings.shares)
        reads = kind == Sequence.IMAGE_TEXT
        u = jax.vmap(lambda key: jax.random.uniform(key, ()))(fold_in(own, SequenceKey.SHARE))
        is_first = step < settings.first_stage_steps
        low, high = (
            jnp.where(is_first, a, b) for a, b in zip(settings.first_mask_share, settings.mask_share, strict=True)
        )
        place = places(fold_in(own, SequenceKey.ORDER), L)
        hidden = masked(place, low + (high - low) * u)
        few = place >= L - jnp.floor(settings.hidden_share * u * L)[:, None]
        states = self.model.states(params, text, image, jnp.where(reads[:, None], few, hidden), kind, dropout_key)
        rows = keys_of_tokens(fold_in(own, SequenceKey.TOKENS), jnp.arange(L)).reshape(-1)
        state, x = (a.reshape(-1, *a.shape[2:]) for a in (states.image, image))
        losses = self.model.head.losses(params["head"], rows, state, x, step).reshape(-1, L)
        of_text = mean_over(text_nats(states.logits, text), given(text))
        share = settings.shares[Sequence.IMAGE_TEXT]
        return Terms(
            {
                "text": where_kind(of_text, reads, share),
                "image": where_kind(mean_over(losses, hidden), ~reads, 1 - share),
            }
        )

    def make_guide(self) -> Guide:
        """Texts reach the model as the field "text" of what is asked for; guidance drops them."""
        model = make_model(self.config, self.spec, self.config.sampling.dtype)

        def predict_of(params: Params, other: Params, asked: Asked) -> TokenModel:
            text = asked.get(TEXT) if isinstance(asked, Mapping) else None
            return model.token_model(params, text, self.scale)

        return Guide(predict_of, None, 0)

    def image(self, values: Array) -> Array:
        """Values of the data as tokens, without noise."""
        return self.model.tokens.encode(self.to_model(values))

    @functools.cached_property
    def measured(self) -> Callable[[Array, Batch], tuple[Array, Array]]:
        """`(keys [B], batch) -> x [B, ...], whose density likelihoods measure, and its log-density [B]`.

        Levels are dequantized, whatever training does: there is no density of the levels themselves. The second is
        relative to uniform noise, and for floats the logarithm of their scale. Categories have neither.
        Errors: ValueError for a dequantization that tokens do not have.
        """
        settings = self.config.eval
        if settings.dequantization == "variational" or settings.num_dequantizations > 1:
            raise ValueError(
                f"config.eval.dequantization = {settings.dequantization!r} and num_dequantizations = "
                f"{settings.num_dequantizations}, but config.system = 'mmar' dequantizes once by 'uniform' or "
                "'truncated_normal' noise; use one of them, 1, and config.eval.bpd_repeats."
            )
        if self.model.tokens.num_codes:
            return lambda keys, batch: (self.prepare(keys, batch), jnp.zeros(len(keys)))
        convert = likelihood.dequantization(self.config, make_sde(self.config), self.spec.num_levels)
        return lambda keys, batch: convert(None, fold_in(keys, LikelihoodKey.DATA), batch["x"])

    @functools.cached_property
    def bits_per_dim(self) -> Callable[[Params, Array, Batch], dict[str, Array]]:
        """`(params, keys [B], batch) -> {"bits_per_dim" [B]}` of the image given its text, compiled; or nats_per_dim.

        -ln p(image | text) = -sum_i ln p(token_i | text, the tokens before it in a random order)
        """
        model, num_levels = make_model(self.config, self.spec, self.config.eval.bpd_dtype), self.spec.num_levels
        quantity, L = likelihood.quantity(num_levels), model.tokens.num_tokens
        num_dims, measured = math.prod(self.spec.shape), self.measured

        def measure(params: Params, keys: Array, batch: Batch) -> dict[str, Array]:
            x, log_ratio = measured(keys, batch)
            image = model.tokens.encode(x)
            own = fold_in(keys, LikelihoodKey.SAMPLES)
            place = places(fold_in(own, SequenceKey.ORDER), L)
            rows = jnp.arange(len(image))

            def one(k: Array) -> Array:
                states = model.image_states(params, batch[TEXT], image, place >= k)
                return states[rows, jnp.argmax(place == k, axis=1)]

            order = jnp.argsort(place, axis=1)
            state = jnp.moveaxis(jax.lax.map(one, jnp.arange(L)), 0, 1)
            ordered = image[rows[:, None], order]
            of_tokens = keys_of_tokens(fold_in(own, SequenceKey.TOKENS), order).reshape(-1)
            with float32_products("highest"):
                flat = (a.reshape(-1, *a.shape[2:]) for a in (state, ordered))
                logp = model.head.logp_nats(params["head"], of_tokens, *flat).reshape(len(image), L).sum(axis=1)
            if model.tokens.num_codes or not num_levels:
                return {quantity: (log_ratio - logp) / num_dims / (math.log(2) if num_levels else 1.0)}
            centered = self.config.data.centered
            return {quantity: dequantize.bits_per_dim(logp - log_ratio, num_dims, num_levels, centered=centered)}

        return jax.jit(measure)

    @functools.cached_property
    def token_nats(self) -> Callable[[Params, Array, Batch, float], Array]:
        """`(params, keys [B], batch, share) -> [B]`: the mean -ln p per dimension of a share of tokens."""
        model = make_model(self.config, self.spec, self.config.eval.bpd_dtype)
        L, dim, measured = model.tokens.num_tokens, model.tokens.dim or 1, self.measured

        def measure(params: Params, keys: Array, batch: Batch, share: float) -> Array:
            image = model.tokens.encode(measured(keys, batch)[0])
            own = fold_in(keys, LikelihoodKey.SAMPLES)
            hidden = masked(places(fold_in(own, SequenceKey.ORDER), L), jnp.full(len(image), share))
            state = model.image_states(params, batch[TEXT], image, hidden)
            rows = keys_of_tokens(fold_in(own, SequenceKey.TOKENS), jnp.arange(L)).reshape(-1)
            with float32_products("highest"):
                flat = (a.reshape(-1, *a.shape[2:]) for a in (state, image))
                logp = model.head.logp_nats(params["head"], rows, *flat).reshape(-1, L)
            return mean_over(-logp, hidden) / dim

        return jax.jit(measure)

    def bits_per_dim_task(self, number: int, variables: Variables) -> Task:
        """See `TextsAndImages`."""
        _ = self.measured  # errors before anything is compiled
        return super().bits_per_dim_task(number, variables)

    @property
    def subject(self) -> tuple[str, ...]:
        """Data, network, and the head of image tokens."""
        return self.config.data.dataset, self.config.model.name, self.config.mmar.head

    @property
    def sampler_in_words(self) -> str:
        """The rounds, and the sampler of the head."""
        return ", ".join(filter(None, (f"{self.config.mmar.rounds} rounds", self.head_sampler)))

    @property
    def evaluations(self) -> Mapping[str, Evaluation]:
        """Losses, and of what is trained likelihood, samples, texts given images, and images given texts.

        The last where a classifier can judge them.
        """
        found: dict[str, Evaluation] = {"loss": self.loss_task}
        if self.trains(Sequence.TEXT_IMAGE) or self.trains(Sequence.IMAGE):
            found["samples"] = self.samples_task
        if self.trains(Sequence.IMAGE_TEXT):
            found["understanding"] = functools.partial(understanding, self)
        if not self.trains(Sequence.TEXT_IMAGE):
            return found
        found |= {"bits_per_dim": self.bits_per_dim_task, "head_likelihood": functools.partial(head_likelihood, self)}
        return found | ({"text_to_image": functools.partial(text_to_image, self)} if self.has_classifiers else {})

    def trains(self, kind: Sequence) -> bool:
        """Whether training sees this kind of sequence."""
        return self.config.mmar.shares[kind] > 0
