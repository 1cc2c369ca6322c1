"""SDEs and their chains, with the sampling that was published for each; EDM's preconditioning; categories."""

from ml_collections import ConfigDict


def vp(config: ConfigDict) -> None:
    """VP SDE on [-1, 1], trained in continuous time, sampled by Euler-Maruyama."""
    config.training.update(sde="vpsde", continuous=True, reduce_mean=True)
    config.data.centered = True
    config.sampling.update(method="pc", predictor="euler_maruyama", corrector="none")
    config.model.update(scale_by_sigma=False, ema_rate=0.9999, embedding_type="positional")


def subvp(config: ConfigDict) -> None:
    """Sub-VP SDE; everything else as VP."""
    vp(config)
    config.training.sde = "subvpsde"


def ve(config: ConfigDict) -> None:
    """VE SDE on [0, 1], trained in continuous time, sampled by reverse diffusion and Langevin steps."""
    config.training.update(sde="vesde", continuous=True, reduce_mean=False)
    config.data.centered = False
    config.sampling.update(method="pc", predictor="reverse_diffusion", corrector="langevin")
    config.model.update(scale_by_sigma=True, ema_rate=0.999, embedding_type="fourier")


def discrete(config: ConfigDict) -> None:
    """After an SDE: its chain of `num_scales` levels with the objective of SMLD or DDPM, embedded by level number."""
    config.training.continuous = False
    config.model.embedding_type = "positional"
    if config.training.sde == "vpsde":
        config.sampling.predictor = "ancestral_sampling"


def preconditioned(config: ConfigDict, sigma_data: float) -> None:
    """After an SDE or its chain: EDM's preconditioning and weighting."""
    config.model.update(parameterization="edm", sigma_data=sigma_data, scale_by_sigma=False)
    config.training.weighting = "edm"


def edm(config: ConfigDict, sigma_data: float, p_mean: float) -> None:
    """The same in continuous time, with noise levels around exp(p_mean), spread wider than published."""
    preconditioned(config, sigma_data)
    config.training.update(time_sampling="log_normal", p_mean=p_mean, p_std=1.6)


def flow(config: ConfigDict) -> None:
    """Flow matching on [-1, 1]: logit-normal times, 20 steps of a solver. After the presets of the data."""
    config.training.update(sde="linear", continuous=True, reduce_mean=True, weighting="flow")
    config.training.update(time_sampling="logit_normal", stratified=True)
    config.data.centered = True
    config.sampling.update(method="solver", solver="unipc_2", grid="log_snr", num_steps=20)
    config.model.update(parameterization="flow", scale_by_sigma=False, embedding_type="positional")


def variational(config: ConfigDict, schedule: str) -> None:
    """Variational diffusion on levels, without dequantization; the schedule of noise is "learned" or "fixed"."""
    config.training.update(sde="log_linear", continuous=True, noise_schedule=schedule, stratified=True)
    config.data.update(centered=True, uniform_dequantization=False)
    config.model.update(log_snr_min=-5.0, log_snr_max=13.3, scale_by_sigma=False, embedding_type="positional")
    config.sampling.update(method="solver", solver="dpmpp_2m", grid="log_snr", num_steps=32)
    config.eval.update(bpd_method="levels", num_probes=16)


def few_steps(config: ConfigDict, objective: str, num_steps: int = 1) -> None:
    """After `flow`: average velocities, perhaps from a model of flow matching that `training.init_from` names."""
    config.model.update(second_time=True, max_frequency=0.03)
    config.training.update(objective=objective, time_sampling="uniform", error_power=0.5)
    config.training.update(velocity="example" if objective == "shortcut" else "network", flow_share=0.25)
    method = "consistency" if "consistency" in objective else "average_velocity"
    config.sampling.update(method=method, num_steps=num_steps, grid="uniform")
    config.eval.enable_bpd = False  # the velocity is learned less well than that of flow matching


def masked_ar(config: ConfigDict) -> None:
    """A text and image tokens: masked image tokens by a diffusion head that predicts the velocity, in 25 steps."""
    vp(config)
    config.system = "mmar"
    config.model.update(name="masked_ar", parameterization="velocity", sigma_data=1.0, max_frequency=0.03)
    config.training.update(weighting="edm", stratified=False)
    config.sampling.update(method="solver", solver="dpmpp_2m", grid="log_snr", num_steps=25)
    config.sampling.update(guidance="classifier_free", guidance_scale=1.5)


def resgen(config: ConfigDict) -> None:
    """After the digits: a small class-conditional transformer of residual tokens, which are sampled in 8 rounds."""
    config.system = "resgen"
    config.data.uniform_dequantization = True  # as the tokenizer
    config.model.update(nf=16, num_res_blocks=3, num_heads=4, ema_rate=0.995, num_labels=10, label_dropout=0.1)
    # Most rounds where nearly all is masked, because the first tokens of positions depend the most on each other.
    config.model.update(schedule="polynomial", schedule_power=0.4, num_scales=8)
    config.training.update(n_iters=1600, snapshot_freq=800, stratified=True, reduce_mean=True)
    config.sampling.update(method="confidence", num_steps=None, noise_removal=False)
    config.eval.update(num_samples=300, bpd_method="bound", num_probes=16, metrics=("fid",))


def autoregressive(config: ConfigDict, num_experts: int = 1, experts_per_token: int = 1) -> None:
    """A text and an image token by token, by a causal transformer, whose perceptrons may be mixtures of experts."""
    config.system = "autoregressive"
    config.data.uniform_dequantization = False
    config.model.name = "autoregressive"
    config.autoregressive.update(num_experts=num_experts, experts_per_token=experts_per_token)
    if num_experts > 1:
        config.training.loss_weights = ("balance=0.01",)
    config.sampling.update(guidance="none", noise_removal=False)


def categorical(config: ConfigDict) -> None:
    """Categories instead of numbers: a bidirectional transformer, trained on the bound, sampled site by site."""
    config.system = "categorical"
    config.data.uniform_dequantization = False
    config.model.update(name="token_transformer", corruption="absorbing", schedule="linear")
    config.training.update(continuous=True, time_sampling="importance", stratified=True, reduce_mean=True)
    config.sampling.update(method="ancestral", noise_removal=False)
    config.eval.update(bpd_method="bound", num_probes=16)
