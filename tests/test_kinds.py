"""What a tensor is follows from what lies beside it: modules of torch say which of their tensors
are parameters, and listings of public models, of quantisers' and of trainers' files the rest."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from process import cpu_seconds_of
from real_checkpoints import real_file
from torch import nn
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from scalecheck.checkpoint.evidence.wrappers import bare_name, bare_names
from scalecheck.checkpoint.kinds import family_keys, kinds
from scalecheck.checkpoint.naming import ROLES
from scalecheck.checkpoint.open import open_checkpoint
from scalecheck.dtypes import DTYPES, DType

HERE = Path(__file__).parent
TORCH_NAMES = {
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.complex64: "C64",
    torch.int64: "I64",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


@dataclass(frozen=True)
class Described:
    name: str
    dtype: DType
    shape: tuple[int, ...]


def described(state):
    """The tensors of a state dict."""
    return [Described(n, DTYPES[TORCH_NAMES[t.dtype]], tuple(t.shape)) for n, t in state.items()]


def listed(text, prefix=""):
    """The tensors of a listing, and the kind and role that each line ends with: name, shape as
    64x32 or -, type, kind or role. A role means a parameter of that role."""
    tensors, expected = [], {}
    for line in text.strip().splitlines():
        name, shape, dtype, what = line.split()
        sides = () if shape == "-" else tuple(map(int, shape.split("x")))
        tensors.append(Described(prefix + name, DTYPES[dtype], sides))
        expected[prefix + name] = ("parameter", what) if what in ROLES[:-1] else (what, None)
    return tensors, expected


# ---- modules of torch: they say themselves which tensors are parameters


class Lightning(nn.Module):
    """A LightningModule with class weights and persistent metrics."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(8, 5), nn.BatchNorm1d(5), nn.PReLU())
        self.loss = nn.CrossEntropyLoss(weight=torch.ones(5))
        self.criterion = nn.BCEWithLogitsLoss(pos_weight=torch.ones(5))
        self.losses = nn.ModuleDict({"nll": nn.NLLLoss(torch.ones(5)), "mse": nn.MSELoss()})
        self.metric, self.val_accuracy, self.train_loss = nn.Module(), nn.Module(), nn.Module()
        for module, names in (
            (self.metric, ("sum_value",)),
            (self.val_accuracy, ("tp", "fp", "tn", "fn", "confmat")),
            (self.train_loss, ("mean_value", "weight")),
        ):
            for name in names:
                module.register_buffer(name, torch.ones(()))


class LearnedLosses(nn.Module):
    """Losses and metric learning whose numbers are trained."""

    def __init__(self):
        super().__init__()
        self.loss, self.metric_fc = nn.Module(), nn.Linear(8, 5)
        self.loss.logit_scale = nn.Parameter(torch.ones(()))
        self.loss.log_vars = nn.Parameter(torch.ones(3))
        self.loss.discriminator = nn.Sequential(nn.Conv2d(3, 4, 3), nn.RMSNorm(4))
        self.centers_loss = nn.Module()
        self.centers_loss.weight = nn.Parameter(torch.ones(5, 8))
        self.precision = nn.Linear(4, 4)
        self.f1_norm = nn.RMSNorm(8)
        self.f1 = nn.LayerNorm(8)


class Scalars(nn.Module):
    """Trained numbers and vectors, by names that quantisers, adapters and diffusion use too."""

    def __init__(self):
        super().__init__()
        names = (
            "logit_scale logit_bias temperature alpha beta gamma skip_scale layer_scale_2 D gate "
            "tau log_alpha log_std decay scale weight_gain"
        )
        for name in names.split():
            self.register_parameter(name, nn.Parameter(torch.ones(())))
        self.linear = nn.Linear(3, 3)
        for name in ("q_scale", "k_scale", "v_scale", "output_scale", "zeros", "anything"):
            self.register_parameter(name, nn.Parameter(torch.ones(7)))
        self.betas = nn.Parameter(torch.ones(10))  # the shape of SMPL's body
        self.ls = nn.Parameter(torch.ones(1, 3, 1, 1))
        self.bias = nn.Parameter(torch.ones(1, 3, 1, 1))
        self.A_log = nn.Parameter(torch.ones(8, 16))
        self.cls_token = nn.Parameter(torch.ones(1, 1, 8))
        self.scales = nn.ParameterList([nn.Parameter(torch.ones(3)) for _ in range(3)])
        self.fourier = nn.Module()
        self.fourier.weights1 = nn.Parameter(torch.ones(3, 3, dtype=torch.complex64))


class Qat(nn.Module):
    """Scales that are learned beside a float weight, and an observer's that are not."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(8, 8)
        self.fc.weight_scale = nn.Parameter(torch.ones(8, 1))
        self.fc.act_alpha = nn.Parameter(torch.ones(1))
        self.fc.observer = nn.Module()
        self.fc.observer.register_buffer("min_val", torch.ones(8))
        self.fc.observer.register_buffer("max_val", torch.ones(8))
        self.fc.fake_quant = nn.Module()
        self.fc.fake_quant.register_buffer("scale", torch.ones(8))
        self.fc.fake_quant.register_buffer("zero_point", torch.ones(8, dtype=torch.int64))


class Diffusion(nn.Module):
    """A DDPM that keeps its schedule, a normaliser, rotary tables and a codebook of averages."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(8, 8), nn.GroupNorm(2, 8), nn.Embedding(8, 8))
        schedule = (
            "betas alphas alphas_cumprod alphas_cumprod_prev sqrt_alphas_cumprod "
            "sqrt_one_minus_alphas_cumprod log_one_minus_alphas_cumprod sqrt_recip_alphas_cumprod "
            "sqrt_recipm1_alphas_cumprod posterior_variance posterior_log_variance_clipped "
            "posterior_mean_coef1 posterior_mean_coef2 p2_loss_weight loss_weight snr"
        )
        for name in schedule.split():
            self.register_buffer(name, torch.ones(1000))
        self.logvar = nn.Parameter(torch.ones(1000))
        self.normalizer, self.rope, self.vq = nn.Module(), nn.Module(), nn.Module()
        for module, names in (
            (self.normalizer, ("mean", "std")),
            (self.rope, ("cos", "sin")),
            (self.vq, ("embed_avg", "embed")),
        ):
            for name in names:
                module.register_buffer(name, torch.ones(8))
        self.vq.register_buffer("cluster_size", torch.ones(8))
        self.policy = nn.Module()
        self.policy.register_buffer("action_scale", torch.ones(6))
        self.policy.register_buffer("action_bias", torch.ones(6))


def holding(parameters=None, buffers=None, **modules):
    """A module of these tensors, by the shapes of each."""
    module = nn.Module()
    for name, shape in (parameters or {}).items():
        module.register_parameter(name, nn.Parameter(torch.ones(shape)))
    for name, shape in (buffers or {}).items():
        module.register_buffer(name, torch.ones(shape))
    for name, inner in modules.items():
        module.add_module(name, inner)
    return module


def constants():
    """Constants of diffusion, sound, detection and chemistry, and a count of observations."""
    steps = dict.fromkeys(("alphas_cumprod", "gammas", "noise_levels", "t_steps"), (1000,))
    sound = {"forward_basis": (402, 1, 400), "window_sum": (400,), "mel_filters": (8, 20)}
    return holding(
        {"logit_scale": ()},
        {**steps, "scale_factor": (), "sigma_data": ()},
        net=nn.Linear(4, 4),
        stft=holding(buffers=sound),
        nerf=holding(buffers={"freq_bands": (10,), "sinusoid_table": (50, 8)}),
        position_enc=holding(buffers={"pos_table": (1, 50, 8)}),
        cell_anchors=holding(buffers={"0": (3, 4)}),
        obs_rms=holding(buffers={"mean": (4,), "var": (4,), "count": ()}),
        cutoff_fn=holding(buffers={"r_max": (), "p": ()}),
        scale_shift=holding(buffers={"scale": (), "shift": ()}),
        rbf=holding(buffers={"offset": (50,)}),
        focal_loss=holding(buffers={"alpha": (5,)}),
        vq=holding(buffers={"ema_cluster_size": (8,)}),
    )


def constants_by_name():
    """What is trained under names that such constants have."""
    return holding(
        {"scale_factor": (), "pos_table": (50, 8), "weight_u": (8, 2), "weight_v": (2, 8)},
        rope=holding({"freqs": (2, 4, 16)}),
        rbf=holding({"means": (50,), "betas": (50,)}),
        scale_shift=holding({"scale": (4, 4), "shift": (4,)}),
        focal_block=holding({"alpha": ()}),
        offset=nn.Linear(4, 4),
    )


def pruned():
    net = nn.Sequential(nn.Linear(6, 6), nn.Conv2d(3, 4, 3))
    prune.l1_unstructured(net[0], "weight", 0.3)
    prune.random_unstructured(net[0], "bias", 0.3)
    prune.ln_structured(net[1], "weight", 0.5, 2, 0)
    return net


def normed():
    return nn.Sequential(
        spectral_norm(nn.Linear(5, 6)),
        spectral_norm(nn.Conv2d(3, 4, 3)),
        weight_norm(nn.Linear(4, 5)),
        weight_norm(nn.Conv1d(4, 5, 3), dim=2),
        parametrizations.spectral_norm(nn.Linear(5, 6)),
        parametrizations.weight_norm(nn.Linear(4, 5)),
        parametrizations.orthogonal(nn.Linear(5, 5)),
        parametrizations.orthogonal(nn.Linear(5, 5), use_trivialization=False),
    )


MODULES = {
    "norms": lambda: nn.Sequential(
        nn.BatchNorm2d(8),
        nn.BatchNorm1d(1),
        nn.InstanceNorm2d(8, affine=True, track_running_stats=True),
        nn.LayerNorm(8),
        nn.LayerNorm((4, 8)),
        nn.GroupNorm(2, 8),
        nn.RMSNorm(8),
        nn.PReLU(),
        nn.PReLU(8),
    ),
    "layers": lambda: nn.Sequential(
        nn.Bilinear(3, 4, 5),
        nn.Conv3d(3, 4, 3),
        nn.ConvTranspose1d(3, 4, 5),
        nn.Embedding(5, 3),
        nn.EmbeddingBag(5, 3),
        nn.Linear(4, 1),
    ),
    "attention": lambda: nn.MultiheadAttention(16, 4, add_bias_kv=True),
    "attention of other sizes": lambda: nn.MultiheadAttention(16, 4, kdim=8, vdim=4),
    "transformer": lambda: nn.Transformer(16, 2, 2, 2, 32, batch_first=True),
    "lstm": lambda: nn.LSTM(4, 8, 2, bidirectional=True, proj_size=3),
    "gru": lambda: nn.ModuleDict({"cell": nn.GRUCell(3, 4), "gru": nn.GRU(3, 4)}),
    "softmax": lambda: nn.AdaptiveLogSoftmaxWithLoss(16, 100, [10, 50]),
    "large": lambda: nn.utils.skip_init(nn.Linear, 4096, 4096, device="meta"),
    "pruned": pruned,
    "normed": normed,
    "average alone": lambda: AveragedModel(
        nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)), multi_avg_fn=get_ema_multi_avg_fn()
    ),
    "constants": constants,
    "trained under names of constants": constants_by_name,
    "lightning": Lightning,
    "learned losses": LearnedLosses,
    "scalars": Scalars,
    "qat": Qat,
    "diffusion": Diffusion,
}


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")  # the files are still there
@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("prefix", ["", "model.", "_orig_mod.", "module.", "net._orig_mod.module."])
def test_what_a_module_calls_parameters_are_parameters_and_nothing_else_is(module, prefix):
    built = MODULES[module]()
    state = {prefix + name: tensor for name, tensor in built.state_dict().items()}
    parameters = {prefix + name for name, _ in built.named_parameters()}
    found = kinds(described(state))
    assert {name for name, kind in found.items() if kind.is_parameter} == parameters
    assert {kind.kind for kind in found.values()} <= {"parameter", "buffer"}


# ---- files of others, as listings

LISTINGS = {
    "clip": """
        logit_scale - F32 norm
        text_model.embeddings.position_ids 1x77 I64 buffer
        text_model.embeddings.token_embedding.weight 49408x512 F32 embedding
        text_model.encoder.layers.0.self_attn.q_proj.weight 512x512 F32 matrix
        text_model.encoder.layers.0.layer_norm1.weight 512 F32 norm
        vision_model.embeddings.patch_embedding.weight 768x3x32x32 F32 conv
        vision_model.embeddings.class_embedding 768 F32 embedding
        text_projection.weight 512x512 F32 matrix""",
    "stable diffusion with ema": """
        betas 1000 F32 buffer
        alphas_cumprod 1000 F32 buffer
        sqrt_recip_alphas_cumprod 1000 F32 buffer
        posterior_mean_coef1 1000 F32 buffer
        model.diffusion_model.time_embed.0.weight 1280x320 F32 matrix
        model.diffusion_model.time_embed.0.bias 1280 F32 bias
        model.diffusion_model.out.2.weight 4x320x3x3 F32 conv
        model_ema.decay - F32 buffer
        model_ema.num_updates - I32 buffer
        model_ema.diffusion_modeltime_embed0weight 1280x320 F32 average
        model_ema.diffusion_modeltime_embed0bias 1280 F32 average
        model_ema.diffusion_modelout2weight 4x320x3x3 F32 average
        first_stage_model.encoder.conv_in.weight 128x3x3x3 F32 conv
        cond_stage_model.transformer.text_model.final_layer_norm.bias 768 F32 bias""",
    "average alone": """
        model_ema.decay - F32 buffer
        model_ema.diffusion_modeltime_embed0weight 1280x320 F32 matrix
        model_ema.diffusion_modeltime_embed0bias 1280 F32 norm""",
    "ema_pytorch": """
        initted - BOOL buffer
        step - I64 buffer
        online_model.net.0.weight 32x32 F32 matrix
        online_model.net.0.bias 32 F32 bias
        ema_model.net.0.weight 32x32 F32 average
        ema_model.net.0.bias 32 F32 average""",
    "averaged model beside the model": """
        net.0.weight 32x32 F32 matrix
        net.0.bias 32 F32 bias
        swa_net.n_averaged - I64 buffer
        swa_net.module.0.weight 32x32 F32 average
        swa_net.module.0.bias 32 F32 average""",
    "shadow parameters": """
        model.0.weight 32x32 F32 matrix
        model.0.bias 32 F32 bias
        ema.decay - F32 buffer
        ema.num_updates - I64 buffer
        ema.shadow_params.0 32x32 F32 average
        ema.shadow_params.1 32 F32 average""",
    "averages called by their decay": """
        model.a.0.weight 32x32 F32 matrix
        model.a.0.bias 32 F32 bias
        ema_0.999.a.0.weight 32x32 F32 average
        ema_0.999.a.0.bias 32 F32 average
        model_ema_0.9999.a.0.weight 32x32 F32 average
        model_ema_0.9999.a.0.bias 32 F32 average""",
    "pools": """
        avg_pool_proj.weight 32x32 F32 matrix
        avg_pool_proj.bias 32 F32 bias
        max_pool_proj.weight 32x32 F32 matrix
        max_pool_proj.bias 32 F32 bias""",
    "dino": """
        student.backbone.blocks.0.attn.qkv.weight 96x32 F32 matrix
        student.backbone.blocks.0.attn.qkv.bias 96 F32 bias
        teacher.backbone.blocks.0.attn.qkv.weight 96x32 F32 average
        teacher.backbone.blocks.0.attn.qkv.bias 96 F32 average
        dino_loss.center 1x65536 F32 buffer""",
    "moco": """
        encoder_q.conv1.weight 64x3x7x7 F32 conv
        encoder_q.fc.weight 128x2048 F32 matrix
        encoder_k.conv1.weight 64x3x7x7 F32 average
        encoder_k.fc.weight 128x2048 F32 average
        queue 128x65536 F32 buffer
        queue_ptr 1 I64 buffer""",
    "td3": """
        critic.q1.0.weight 256x23 F32 matrix
        critic.q1.0.bias 256 F32 bias
        critic_target.q1.0.weight 256x23 F32 average
        critic_target.q1.0.bias 256 F32 average
        log_alpha - F32 norm""",
    "two languages": """
        source_embed.weight 1000x64 F32 embedding
        target_embed.weight 1000x64 F32 embedding
        proj_q.weight 64x64 F32 matrix
        proj_k.weight 64x64 F32 matrix""",
    "a layer called ema": """
        layers.0.ema.alpha 64x16 F32 matrix
        layers.0.ema.gamma 64x16 F32 matrix
        layers.0.ema.omega 64 F32 norm
        layers.0.fc.weight 64x64 F32 matrix""",
    "kohya": """
        lora_unet_mid_block_proj_in.alpha - F32 buffer
        lora_unet_mid_block_proj_in.lora_down.weight 8x320 F32 lora_a
        lora_unet_mid_block_proj_in.lora_up.weight 320x8 F32 lora_b
        lora_unet_mid_block_proj_in.dora_scale 1x320 F32 norm
        lycoris_q.alpha - F32 buffer
        lycoris_q.hada_w1_a 320x4 F32 lora_b
        lycoris_q.hada_w1_b 4x320 F32 lora_a
        lycoris_k.alpha - F32 buffer
        lycoris_k.lokr_w1 8x8 F32 matrix
        lycoris_k.lokr_w2_a 40x4 F32 lora_b
        lycoris_k.lokr_w2_b 4x40 F32 lora_a""",
    "alpha beside diffusers' lora": """
        unet.to_q.lora.down.weight 4x320 F32 lora_a
        unet.to_q.lora.up.weight 320x4 F32 lora_b
        unet.to_q.alpha - F32 buffer
        unet.gate.alpha - F32 norm
        unet.softmax.alpha - F32 norm""",
    "peft": """
        base_model.model.embed_tokens.base_layer.weight 200x32 F32 embedding
        base_model.model.embed_tokens.lora_embedding_A.default 8x200 F32 lora_a
        base_model.model.embed_tokens.lora_embedding_B.default 32x8 F32 lora_b
        base_model.model.q_proj.base_layer.weight 32x32 F32 matrix
        base_model.model.q_proj.lora_A.default.weight 8x32 F32 lora_a
        base_model.model.q_proj.lora_B.default.weight 32x8 F32 lora_b
        base_model.model.q_proj.lora_magnitude_vector.default.weight 32 F32 norm
        base_model.model.k_proj.ia3_l.default 32x1 F32 norm
        base_model.model.v_proj.lora_E.default 8x1 F32 norm
        base_model.model.v_proj.ranknum.default 1 F32 buffer
        base_model.model.score.original_module.weight 2x32 F32 matrix
        base_model.model.score.modules_to_save.default.weight 2x32 F32 matrix
        base_model.model.embed.modules_to_save.default.weight 200x32 F32 embedding
        base_model.vera_A.default 8x32 F32 buffer
        base_model.vera_B.default 32x8 F32 buffer
        base_model.model.o_proj.vera_lambda_b.default 32 F32 norm""",
    "gpt-oss": """
        model.layers.0.mlp.experts.gate_up_proj_blocks 8x64x2x16 U8 code
        model.layers.0.mlp.experts.gate_up_proj_scales 8x64x2 U8 buffer
        model.layers.0.mlp.experts.gate_up_proj_bias 8x64 BF16 bias
        model.layers.0.mlp.router.weight 8x64 BF16 matrix
        model.layers.0.self_attn.sinks 64 BF16 norm""",
    "deepseek v3": """
        model.layers.0.mlp.down_proj.weight 7168x2048 F8_E4M3 code
        model.layers.0.mlp.down_proj.weight_scale_inv 56x16 F32 buffer
        model.layers.0.mlp.gate.weight 256x7168 BF16 matrix
        model.layers.0.mlp.gate.e_score_correction_bias 256 F32 buffer
        model.layers.0.input_layernorm.weight 7168 BF16 norm""",
    "fp8 without factors": """
        q_proj.weight 64x64 F8_E4M3 matrix
        q_proj.bias 64 F8_E5M2 bias
        norm.weight 64 F8_E4M3 norm""",
    "nf4": """
        q.weight 2048x1 U8 code
        q.weight.absmax 64 U8 buffer
        q.weight.quant_map 16 F32 buffer
        q.weight.nested_absmax 1 F32 buffer
        q.weight.nested_quant_map 256 F32 buffer
        q.weight.quant_state.bitsandbytes__nf4 89 U8 buffer
        q.bias 64 F16 bias""",
    "int8": """
        q.weight 64x64 I8 code
        q.SCB 64 F32 buffer
        q.weight_format - U8 buffer
        norm.weight 64 F16 norm""",
    "gptq": """
        q.qweight 512x4096 I32 code
        q.qzeros 32x512 I32 buffer
        q.scales 32x4096 F16 buffer
        q.g_idx 4096 I32 buffer
        q.bias 4096 F16 bias""",
    "mlx": """
        layers.0.weight 64x8 U32 code
        layers.0.scales 64x1 F16 buffer
        layers.0.biases 64x1 F16 buffer
        layers.0.bias 64 F16 bias""",
    "quanto of four bits": """
        q.weight._data._data 32x64 U8 code
        q.weight._scale 64x1 F32 buffer
        q.weight._shift 64x1 F32 buffer
        q.input_scale - F32 buffer
        q.bias 64 F32 bias""",
    "hqq with a folder of factors": """
        q.W_q 32x64 U8 code
        q.meta.scale 64x1 F16 buffer
        q.meta.zero 64x1 F16 buffer
        meta.norm.weight 64 F16 norm""",
    "tensorrt": """
        attention.qkv.weight 64x64 F8_E4M3 code
        attention.qkv.weights_scaling_factor - F32 buffer
        attention.qkv.activation_scaling_factor - F32 buffer
        attention.kv_cache_scaling_factor - F32 buffer""",
    "vptq": """
        q.indices 1x64x8 I32 code
        q.centroids.weight 1x2048 F16 buffer
        q.weight_scale 64 F16 buffer""",
    "smoothquant": """
        q.weight 64x64 I8 code
        q.bias 64 I8 code
        q.a - F32 buffer
        k.weight 64x64 F32 matrix
        k.a - F32 norm""",
    "sparse codes": """
        q.compressed 64x32 I8 code
        q.bitmask 64x8 U8 buffer
        q.weight_scale 64x1 F16 buffer
        r.qweight 8x64 I32 code
        r.lookup_table 64x16 F16 buffer""",
    "vectors of bytes": """
        q.payload 4096 U8 code
        k.payload 4096 U8 code
        rng_state 5056 U8 buffer
        norm.weight 64 F32 norm""",
    "a vector of bytes beside weights": """
        q.payload 4096 U8 buffer
        q.weight 128x64 F32 matrix""",
    "torchao": """
        q_proj._weight_qdata 64x64 I8 code
        q_proj._weight_scale 64x1 F32 buffer
        q_proj._weight_zero_point 64x1 I8 buffer
        q_proj.bias 64 F32 bias
        k_proj._weight_qdata 64x64 F8_E4M3 code
        k_proj._weight_scale 1x1 F32 buffer
        v_proj.weight.qdata 64x64 I8 code
        v_proj.weight.scale 64x1 F32 buffer""",
    "quanto": """
        q_proj.weight._data 64x64 I8 code
        q_proj.weight._scale 64x1 F32 buffer
        q_proj.input_scale - F32 buffer
        q_proj.output_scale - F32 buffer
        q_proj.bias 64 F32 bias""",
    "hqq": """
        q.W_q 32x64 U8 code
        q.scale 64x1 F16 buffer
        q.zero 64x1 F16 buffer""",
    "compressed-tensors": """
        q.weight_packed 64x8 I32 code
        q.weight_scale 64x1 BF16 buffer
        q.weight_zero_point 8x1 I32 buffer
        q.weight_shape 2 I64 buffer
        k.weight 64x64 F8_E4M3 code
        k.weight_scale 64x1 BF16 buffer
        attn.k_scale 1 BF16 buffer""",
    "nvfp4": """
        k.weight 64x32 U8 code
        k.weight_scale 64x4 F8_E4M3 buffer
        k.weight_scale_2 - F32 buffer
        k.input_scale - F32 buffer
        m.weight 64x32 U8 code
        m.weight_scale 64x2 F8_E8M0 buffer""",
    "comfyui": """
        scaled_fp8 0 F8_E4M3 buffer
        p.weight 64x64 F8_E4M3 code
        p.scale_weight - F32 buffer
        p.scale_input - F32 buffer
        p.bias 64 F16 bias""",
    "factors whose codes lie elsewhere": """
        q.SCB 64 F32 buffer
        k.weight_scale_2 - F32 buffer
        k.weight_global_scale 1 F32 buffer
        k.k_scale - F32 buffer
        o.scales 32x4096 F16 buffer
        norm.weight 64 F32 norm""",
    "integers": """
        table 64x64 I64 buffer
        steps 8 I32 buffer
        token_type_ids 1x512 I64 buffer
        embed_tokens.weight 100x8 I8 code
        attn.bias 1x1x8x8 BOOL buffer""",
    "gpt-2": """
        wte.weight 50257x768 F32 embedding
        h.0.attn.bias 1x1x1024x1024 F32 buffer
        h.0.attn.masked_bias - F32 buffer
        h.0.attn.c_attn.weight 768x2304 F32 matrix
        h.0.attn.c_attn.bias 2304 F32 bias""",
    "llama": """
        model.embed_tokens.weight 32000x4096 BF16 embedding
        model.layers.0.self_attn.rotary_emb.inv_freq 64 F32 buffer
        model.layers.0.self_attn.q_proj.weight 4096x4096 BF16 matrix
        model.layers.0.input_layernorm.weight 4096 BF16 norm
        rope.freqs 64 F32 buffer
        lm_head.weight 32000x4096 BF16 matrix""",
    "experts": """
        model.layers.0.mlp.experts.down_proj 4x32x24 BF16 matrix
        model.layers.0.mlp.experts.gate_up_proj 4x24x64 BF16 matrix
        model.layers.0.block_sparse_moe.experts.w1.weight 8x64x16 BF16 matrix
        model.layers.0.mlp.experts.gate_up_proj_bias 4x64 BF16 bias
        model.layers.0.mlp.router.weight 4x32 BF16 matrix""",
    "mamba": """
        backbone.layers.0.mixer.A_log 1536x16 F32 norm
        backbone.layers.0.mixer.D 1536 F32 norm
        backbone.layers.0.mixer.dt_bias 24 F32 bias
        backbone.layers.0.mixer.conv1d.weight 1536x1x4 F32 conv""",
    "rwkv": """
        blocks.0.att.time_decay 768 F32 norm
        blocks.0.att.time_mix_k 1x1x768 F32 norm
        blocks.0.att.key.weight 768x768 F32 matrix""",
    "whisper": """
        model.encoder.conv1.weight 384x80x3 F32 conv
        model.encoder.embed_positions.weight 1500x384 F32 embedding
        model.decoder.layers.0.fc1.bias 1536 F32 bias""",
    "t5": """
        shared.weight 32128x512 F32 embedding
        encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight 32x8 F32 embedding
        encoder.block.0.layer.0.layer_norm.weight 512 F32 norm""",
    "convnext": """
        stages.0.blocks.0.gamma 96 F32 norm
        stages.0.blocks.0.conv_dw.weight 96x1x7x7 F32 conv
        stages.0.blocks.0.grn.weight 1x1x1x384 F32 norm
        stages.0.blocks.0.grn.bias 1x1x1x384 F32 bias
        stages.0.blocks.0.norm.weight 1x96x1x1 F32 norm
        lin0.model.1.weight 1x64x1x1 F32 conv
        stages.0.downsample.0.bias 96 F32 bias""",
    "swin v2": """
        layers.0.blocks.0.attn.logit_scale 3x1x1 F32 norm
        layers.0.blocks.0.attn.relative_coords_table 1x15x15x2 F32 buffer
        layers.0.blocks.0.attn.relative_position_index 64x64 I64 buffer
        layers.0.blocks.1.attn_mask 64x49x49 F32 buffer""",
    "flax": """
        params/Conv_0/kernel 3x3x64x128 F32 conv
        params/Dense_0/kernel 64x64 F32 matrix
        params/LayerNorm_0/scale 64 F32 norm
        params/LayerNorm_0/bias 64 F32 bias
        params/Embed_0/embedding 1000x64 F32 embedding
        batch_stats/BatchNorm_0/mean 64 F32 buffer
        batch_stats/BatchNorm_0/var 64 F32 buffer""",
    "optimizer beside": """
        model.fc.weight 8x8 F32 matrix
        optimizer.state.fc.weight.exp_avg 8x8 F32 moment
        optimizer.state.fc.weight.step - F32 moment""",
    "mlx's optimizer": """
        learning_rate - F32 other
        blocks.0.weight.m 8x8 F32 moment
        blocks.0.weight.v 8x8 F32 moment""",
    "fsdp": """
        _flat_param 123456 F32 piece
        layers.0._fsdp_wrapped_module._flat_param 1234 F32 piece
        layers.1._flat_param.0.tensor 1234 F32 piece
        q.weight._local_tensor 32x64 F32 piece
        k.weight.0.0.tensor 32x64 F32 piece
        k.weight.0.1.tensor 32x64 F32 piece""",
    "metrics under names of their own": """
        HingeLoss.measures - F32 buffer
        HingeLoss.total - I64 buffer
        monitor.sum_error 3 F32 norm
        fid.inception.Conv2d_1a.conv.weight 32x3x3x3 F32 conv
        fid.real_features_cov_sum 2048x2048 F32 buffer
        running_loss.mean_value_0 - F32 buffer
        running_loss.weight_0 - F32 buffer
        fc.weight 8x8 F32 matrix""",
    "ranges and codebooks": """
        q_proj.input_min - F32 buffer
        q_proj.input_max - F32 buffer
        q_proj.weight 8x8 F32 matrix
        codebook.embed_sum 2048x256 F32 buffer
        codebook.cluster_usage 2048 F32 buffer
        codebook.initialized 1 F32 buffer
        quantize.embedding.weight 2048x256 F32 embedding
        encoder.global_mean 80 F32 buffer
        encoder.global_invstd 80 F32 buffer
        down.kernel 8 F32 buffer
        time_embed.0.weight 1280x320 F32 matrix
        time_embed.0.bias 1280 F32 bias""",
    "audio": """
        spectrogram.window 400 F32 buffer
        preprocessor.featurizer.fb 1x80x257 F32 buffer
        decoder.upsample.filter 1x1x12 F32 buffer
        pos_encoder.pe 5000x1x64 F32 buffer
        encoder.embed_positions._float_tensor 1 F32 buffer
        encoder.version 1 F32 buffer""",
}


@pytest.mark.parametrize("listing", LISTINGS)
def test_a_listing_has_the_kinds_and_roles_it_says(listing):
    tensors, expected = listed(LISTINGS[listing])
    found = kinds(tensors)
    assert {
        name: (found[name].kind, found[name].role if what else None)
        for name, (_, what) in expected.items()
    } == expected


@pytest.mark.parametrize("listing", LISTINGS)
def test_what_holds_no_weights_has_the_role_of_a_buffer(listing):
    for kind in kinds(listed(LISTINGS[listing])[0]).values():
        has_weights = kind.kind in ("parameter", "average", "piece")
        assert (kind.role == "buffer") is not has_weights


@pytest.mark.parametrize("listing", LISTINGS)
def test_kinds_do_not_depend_on_the_order_of_the_file(listing):
    tensors, _ = listed(LISTINGS[listing])
    found = kinds(tensors)
    backwards = kinds(tensors[::-1])
    assert {n: (k.kind, k.role) for n, k in found.items()} == {
        n: (k.kind, k.role) for n, k in backwards.items()
    }


@pytest.mark.parametrize("listing", sorted(LISTINGS.keys() - {"peft", "flax", "mlx's optimizer"}))
@pytest.mark.parametrize("wrapper", ["module.", "_orig_mod.", "model.", "_fsdp_wrapped_module."])
def test_a_wrapper_changes_no_kind(listing, wrapper):
    tensors, expected = listed(LISTINGS[listing], wrapper)
    found = kinds(tensors)
    assert {
        name: (found[name].kind, found[name].role if what else None)
        for name, (_, what) in expected.items()
    } == expected


@pytest.mark.parametrize("listing", LISTINGS)
def test_every_kind_says_its_evidence_in_a_line(listing):
    for kind in kinds(listed(LISTINGS[listing])[0]).values():
        assert kind.evidence
        assert kind.evidence.isprintable()
        assert len(kind.evidence) < 200


def test_nothing_but_a_name_that_says_nothing_is_uncertain():
    tensors, _ = listed("foo 7 F32 norm\nfc.weight 8x8 F32 matrix\nlogit_scale - F32 norm")
    assert [name for name, kind in kinds(tensors).items() if not kind.is_certain] == ["foo"]


def test_a_reader_says_what_is_a_piece_and_what_lies_beside_the_model():
    tensors, _ = listed("a.weight 8x8 F32 piece\nb.weight 8x8 F32 other\nc.weight 8x8 F32 matrix")
    found = kinds(tensors, pieces={"a.weight": "rank 0 of 2"}, non_model={"b.weight"})
    assert [kind.kind for kind in found.values()] == ["piece", "other", "parameter"]
    assert {kind.role for kind in found.values()} == {"matrix"}
    assert found["a.weight"].evidence == "rank 0 of 2"


ZERO_AT_FIRST = {
    "lycoris_q.hada_w2_a": True,  # LyCORIS
    "base_model.model.q.hada_w2_b.default": True,  # PEFT
    "base_model.model.q.lokr_w1": True,
    "lycoris_q.lokr_w2_b": True,
    "q.lora_B.weight": True,
    "lora_unet_q.lora_up.weight": True,
    "q.oft_r": True,
    "emb.lora_embedding_A.default": True,
    "q.bone_block.default": True,
    "back_bone.weight": False,
    "lycoris_q.hada_w1_b": False,
    "q.lora_A.weight": False,
    "q.weight": False,
}


@pytest.mark.parametrize("name", ZERO_AT_FIRST)
def test_the_halves_that_libraries_start_at_zero_are_marked(name):
    tensors = [Described(name, DTYPES["F32"], (320, 4))]
    assert kinds(tensors)[name].is_zero_at_first is ZERO_AT_FIRST[name]


# ---- names without wrappers

BARE = {
    "_orig_mod.layers.0.w.weight": "layers.0.w.weight",
    "module.layers.0.w.weight": "layers.0.w.weight",
    "layers.0._checkpoint_wrapped_module.w.weight": "layers.0.w.weight",
    "_fsdp_wrapped_module.layers.0._fsdp_wrapped_module.w.weight": "layers.0.w.weight",
    "base_model.model.q.base_layer.weight": "q.weight",
    "score.original_module.weight": "score.weight",
    "base_model.model.score.modules_to_save.default.weight": "score.weight",
    "q.lora_A.default.weight": "q.lora_A.weight",
    "q.lora_A.weight": "q.lora_A.weight",
    "q.ia3_l.default": "q.ia3_l",
    "emb.parametrizations.weight.original": "emb.weight",
    "fc.parametrizations.weight.original0": "fc.weight_g",
    "fc.parametrizations.weight.original1": "fc.weight_v",
    "fc.parametrizations.weight.0._u": "fc.parametrizations.weight.0._u",
    "fc.weight_orig": "fc.weight",
    "fc.weight._local_tensor": "fc.weight",
    "module": "module",
    "": "",
    "model.embed_tokens.weight": "model.embed_tokens.weight",
}


@pytest.mark.parametrize("name", BARE)
def test_the_bare_name_lacks_what_wraps_the_module(name):
    assert bare_name(name) == BARE[name]


def test_two_tensors_of_one_bare_name_keep_their_own():
    names = ["h.original_module.weight", "h.modules_to_save.a.weight", "_orig_mod.w"]
    assert bare_names(names) == {name: name for name in names[:2]} | {"_orig_mod.w": "w"}


# ---- siblings


def keys(tensors):
    return family_keys(tensors, kinds(tensors))


def test_the_bias_of_a_layernorm_is_no_sibling_of_a_linears():
    net = nn.Sequential(*[nn.Linear(32, 32) for _ in range(4)], nn.LayerNorm(32))
    key = keys(described(net.state_dict()))
    assert len({key[f"{place}.bias"] for place in range(4)}) == 1
    assert key["4.bias"] != key["0.bias"]


def test_entries_of_a_list_are_siblings_by_what_lies_around_them():
    net = nn.Sequential(*[nn.Linear(32, 32) for _ in range(4)], nn.LayerNorm(32))
    key = keys(described({str(i): p.detach() for i, p in enumerate(net.parameters())}))
    assert len({key[str(place)] for place in (1, 3, 5)}) == 1
    assert len({key[str(place)] for place in (0, 2, 4)}) == 1
    assert key["8"] != key["1"] != key["9"] != key["8"]


def test_parts_of_different_modules_are_no_siblings_in_a_list():
    """Each block has six vectors of one shape in a row, and a transformer's up to five."""
    block = [
        lambda: nn.Linear(16, 16),
        lambda: nn.PReLU(16),
        lambda: nn.LayerNorm(16),
        lambda: nn.BatchNorm1d(16),
    ]
    nets = (
        nn.Sequential(*(part() for _ in range(4) for part in block)),
        nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 4, 32), 3, enable_nested_tensor=False),
        nn.Sequential(nn.Linear(16, 16), nn.LayerNorm(16), nn.Linear(16, 16), nn.RMSNorm(16)),
    )
    for net in nets:
        names = [name for name, _ in net.named_parameters()]
        key = keys(described({str(i): p.detach() for i, p in enumerate(net.parameters())}))
        parts = {}
        for place, name in enumerate(names):
            owner = type(net.get_submodule(name.rpartition(".")[0])).__name__
            parts.setdefault(key[str(place)], set()).add((owner, name.rpartition(".")[2]))
        assert all(len(of_one) == 1 for of_one in parts.values())
        assert len(set(key.values())) < len(names) or len(names) < 10


def test_blocks_are_siblings_whatever_wraps_some_of_them():
    tensors, _ = listed("""
        layers.0.w.weight 8x8 F32 matrix
        layers.1._checkpoint_wrapped_module.w.weight 8x8 F32 matrix
        layers.2.w.weight 8x4 F32 matrix""")
    first, second, third = keys(tensors).values()
    assert first == second != third


def test_only_parameters_have_siblings():
    tensors, _ = listed(LISTINGS["stable diffusion with ema"])
    found = kinds(tensors)
    assert keys(tensors).keys() == {name for name, kind in found.items() if kind.is_parameter}


# ---- real files

TRUTH = json.loads((HERE / "data" / "checkpoints-truth.json").read_text())
PARAMETERS = {"chgnet-0.3.0": 136, "minilm-safetensors": 103, "silero-vad-16k-st": 15}


@pytest.mark.parametrize("key", PARAMETERS)
def test_a_real_file_has_as_many_parameters_as_its_optimizer_or_module(key):
    file = TRUTH["files"][key]
    checkpoint = open_checkpoint(real_file(file["package"], file["file"]))
    found = kinds(checkpoint.tensors, non_model=checkpoint.non_model)
    assert sum(kind.is_parameter for kind in found.values()) == PARAMETERS[key]


# ---- hostile names

PARTS = (
    "model model_ema ema teacher student module shadow_params parametrizations weight original "
    "original0 weight_scale absmax lora_A default modules_to_save base_layer loss metric queue 0 1 "
    "_u betas alphas mean std n_averaged weight_orig weight_mask decay qdata scale total"
)
any_name = st.text(max_size=20) | st.lists(st.sampled_from([*PARTS.split(), ""]), max_size=6).map(
    ".".join
)


@given(
    st.lists(
        st.builds(
            Described,
            any_name,
            st.sampled_from(sorted(DTYPES)).map(DTYPES.get),
            st.lists(st.integers(0, 5), max_size=5).map(tuple),
        ),
        max_size=12,
        unique_by=lambda tensor: tensor.name,
    )
)
def test_any_list_of_tensors_has_kinds_and_siblings(tensors):
    found = kinds(tensors)
    assert list(found) == [tensor.name for tensor in tensors]
    assert all(kind.role in ROLES for kind in found.values())
    assert all(kind.evidence.isprintable() for kind in found.values())
    assert family_keys(tensors, found).keys() == {n for n, k in found.items() if k.is_parameter}


def seconds(tensors):
    """The least of a processor's time of a few that tells the kinds."""
    return min(cpu_seconds_of(lambda: family_keys(tensors, kinds(tensors))) for _ in range(3))


@pytest.mark.parametrize(
    "name",
    ["{}.weight", "ema.{}.weight", "a.ema.shadow_params.{}", "model.w{}", "p.{}_scale", "e._{}_u"],
)
def test_the_time_is_linear_in_the_number_of_tensors(name):
    few, many = (
        [Described(name.format(i), DTYPES["F32"], (4, 4)) for i in range(count)]
        for count in (500, 4000)
    )
    assert seconds(many) < 30 * seconds(few)


@pytest.mark.parametrize("part", ["_", "a_", "ema.", "module.", "_mask", ".", "1.", "Aa", "lora_"])
def test_no_long_name_takes_ten_times_as_long_as_a_plain_one(part):
    plain = ("model.layers.0.mlp.up_proj." * 40)[:1024]
    long = (part * 1024)[:1024]
    times = [
        seconds([Described(f"{name}{i}", DTYPES["F32"], (4,)) for i in range(200)])
        for name in (plain, long)
    ]
    assert times[1] < 10 * times[0]
