"""Networks, with the settings of sampling and optimization that were published for them."""

from ml_collections import ConfigDict

from configs.presets.processes import discrete, edm


def ddpmpp(config: ConfigDict) -> None:
    """DDPM++: BigGAN residual blocks, no FIR filter, no progressive growing."""
    config.model.update(name="ncsnpp", resblock_type="biggan", skip_rescale=True, fir=False)
    config.model.update(progressive="none", progressive_input="none")


def dit(config: ConfigDict, size: str, patch_size: int) -> None:
    """A diffusion transformer of a published size, "S", "B", "L" or "XL", such as DiT-S/2."""
    width, num_blocks, num_heads = _TRANSFORMERS[size]
    config.model.update(name="dit", nf=width // 4, num_res_blocks=num_blocks, num_heads=num_heads, dropout=0.0)
    config.model.update(patch_size=patch_size, positions="sincos", qk_norm=False)


def edm2(config: ConfigDict, size: str) -> None:
    """After a data set: the magnitude-preserving network of a published size, "XS" to "XXL", as EDM2 trains it.

    EDM's preconditioning, a learned weight of noise levels, weights of norm 1, an inverse square root decay of the
    learning rate without clipping, and averages of the parameters from which others follow after training.
    """
    config.training.update(sde="edm", continuous=True, reduce_mean=True, uncertainty=True)
    config.data.centered = True
    config.model.update(name="edm2", nf=_CHANNELS[size], ch_mult=(1, 2, 3, 4), num_res_blocks=3, dropout=0.0)
    config.model.update(attn_resolutions=(16, 8), embedding_type="fourier", ema_sigma_rels=(0.05, 0.1))
    edm(config, sigma_data=0.5, p_mean=-0.4)
    config.training.p_std = 1.0
    config.optim.update(lr=1e-2, beta2=0.99, schedule="inverse_sqrt", decay_steps=70_000, grad_clip=-1.0)
    config.optim.normalized = ("*/weight",)
    config.sampling.update(method="solver", solver="dpmpp_2m", grid="log_snr", num_steps=32)


def mlp(config: ConfigDict) -> None:
    """A residual perceptron, for vectors."""
    config.model.name = "mlp"


def classifier(config: ConfigDict) -> None:
    """After a data set: the noise-conditional Wide ResNet that guides score models toward a class."""
    config.system = "classifier"
    config.model.update(name="wideresnet", ema_rate=0.99)
    config.training.snapshot_sampling = False
    config.eval.update(enable_bpd=False, enable_sampling=False)


def tokenizer(config: ConfigDict, num_codes: int, factor: int) -> None:
    """After a data set: a vector-quantized tokenizer with convolutions, whose codebook is learned by gradient."""
    config.system = "tokenizer"
    config.data.uniform_dequantization = True  # a level is the middle of its cell; nothing is added
    config.tokenizer.update(quantizer="vq", num_codes=num_codes, factor=factor)
    config.training.update(snapshot_sampling=False, loss_weights=("commitment=0.25",))
    config.eval.update(enable_bpd=False, enable_sampling=False, enable_metrics=False)


def ncsnpp(config: ConfigDict) -> None:
    """NCSN++: DDPM++ with FIR resampling and a residual input pyramid."""
    ddpmpp(config)
    config.model.update(fir=True, progressive_input="residual")


def deep(config: ConfigDict) -> None:
    """The deep variants: twice the residual blocks, 950,001 steps."""
    config.model.num_res_blocks = 8
    config.training.n_iters = 950_001


def ncsnpp_256(config: ConfigDict) -> None:
    """NCSN++ for 256 pixels: seven resolutions, image pyramids at the input and at the output."""
    ncsnpp(config)
    config.model.update(progressive="output_skip", progressive_input="input_skip")
    config.model.update(ch_mult=(1, 1, 2, 2, 2, 2, 2), num_res_blocks=2, num_scales=2000)


def ncsnpp_1024(config: ConfigDict) -> None:
    """NCSN++ for 1024 pixels: eight resolutions from 16 channels up, batches of 8; evaluated from checkpoint 1 on."""
    ncsnpp_256(config)
    config.model.update(nf=16, ch_mult=(1, 2, 4, 8, 16, 32, 32, 32), num_res_blocks=1, ema_rate=0.9999)
    config.model.sigma_max = 1348.0
    config.training.update(batch_size=8, n_jitted_steps=1)
    config.sampling.snr = 0.15
    config.eval.update(begin_ckpt=1, batch_size=1024, enable_sampling=False)


def ddpm(config: ConfigDict) -> None:
    """The network of DDPM for 32 pixels, embedded by level or time; embedding_type is as published, but not used."""
    config.model.update(name="ddpm", num_res_blocks=2, embedding_type="fourier")


def ddpm_256(config: ConfigDict) -> None:
    """The network of DDPM for 256 pixels, with a tenth of the learning rate."""
    ddpm(config)
    config.model.ch_mult = (1, 1, 2, 2, 4, 4)
    config.optim.lr = 2e-5


def ncsn(config: ConfigDict) -> None:
    """NCSN: ten levels from 1 to 0.01, each with its own normalizations, 100 Langevin steps per level; no average."""
    _refinenet(config)
    config.model.update(name="ncsn", scale_by_sigma=False, ema_rate=0.0, num_scales=10, sigma_max=1.0)
    config.optim.lr = 1e-3
    config.sampling.update(n_steps_each=100, snr=0.316)


def ncsnv2(config: ConfigDict) -> None:
    """NCSNv2: a network divided by sigma (technique 3) with techniques 1, 2, 4 and 5."""
    _refinenet(config)
    config.model.update(name="ncsnv2_64", scale_by_sigma=True)
    config.optim.lr = 1e-4
    technique_124(config)
    technique_5(config)


def technique_124(config: ConfigDict) -> None:
    """After a data set: many levels, starting from its largest distance, and Langevin steps that suit them.

    Source: Song and Ermon 2020, techniques 1, 2 and 4.
    """
    sigma_max, num_scales, n_steps_each, snr = _LADDERS[config.data.dataset]
    config.model.update(sigma_max=sigma_max, num_scales=num_scales)
    config.sampling.update(n_steps_each=n_steps_each, snr=snr)


def technique_5(config: ConfigDict) -> None:
    """The average of the parameters. Source: Song and Ermon 2020, technique 5."""
    config.model.ema_rate = 0.999


def _refinenet(config: ConfigDict) -> None:
    """SMLD with annealed Langevin dynamics and a RefineNet; embedding_type is as published, but not used."""
    discrete(config)
    config.sampling.update(predictor="none", corrector="ald")
    config.model.update(normalization="InstanceNorm++", nonlinearity="elu", embedding_type="fourier")
    config.optim.update(warmup=0, grad_clip=-1.0)


# Channels at the highest resolution; source: Karras et al., CVPR 2024, table 2.
_CHANNELS = {"XS": 128, "S": 192, "M": 256, "L": 320, "XL": 384, "XXL": 448}
# Width, blocks, heads; source: Peebles and Xie, ICCV 2023, table 1.
_TRANSFORMERS = {"S": (384, 12, 6), "B": (768, 12, 12), "L": (1024, 24, 16), "XL": (1152, 28, 16)}
# Largest sigma, number of levels, Langevin steps per level, their signal-to-noise ratio.
_LADDERS = {"CIFAR10": (50.0, 232, 5, 0.176), "CELEBA": (90.0, 500, 5, 0.128), "LSUN": (190.0, 1086, 3, 0.095)}
