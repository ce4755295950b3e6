"""Layer, family and role are what a training engineer would say, over the names of real models."""

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st
from process import cpu_seconds_of

from scalecheck.checkpoint.evidence.inventory import Description
from scalecheck.checkpoint.kinds import kinds
from scalecheck.checkpoint.naming import ROLES, family, indices, layer
from scalecheck.dtypes import DTYPES


def role(name, dtype, shape):
    """The role of a tensor that is alone in its file."""
    return kinds([Description(name, dtype, shape)])[name].role


LONGEST = 1024  # characters of a name that the readers accept

FLOATS = {
    # Llama, Qwen, Gemma, Phi, DeepSeek
    "model.embed_tokens.weight": ((32000, 4096), "embedding"),
    "model.layers.0.self_attn.q_proj.weight": ((4096, 4096), "matrix"),
    "model.layers.0.self_attn.k_proj.bias": ((1024,), "bias"),
    "model.layers.0.self_attn.q_norm.weight": ((128,), "norm"),
    "model.layers.0.self_attn.qkv_proj.weight": ((9216, 3072), "matrix"),
    "model.layers.0.self_attn.rotary_emb.inv_freq": ((64,), "buffer"),
    "model.layers.31.mlp.down_proj.weight": ((4096, 11008), "matrix"),
    "model.layers.3.input_layernorm.weight": ((4096,), "norm"),
    "model.layers.3.post_attention_layernorm.weight": ((4096,), "norm"),
    "model.layers.3.pre_feedforward_layernorm.weight": ((2304,), "norm"),
    "model.layers.0.self_attn.kv_a_proj_with_mqa.weight": ((576, 7168), "matrix"),
    "model.layers.0.self_attn.kv_a_layernorm.weight": ((512,), "norm"),
    "model.layers.0.mlp.down_proj.weight_scale_inv": ((56, 144), "buffer"),
    "model.layers.0.self_attn.q_proj.scales": ((32, 4096), "buffer"),
    "model.norm.weight": ((4096,), "norm"),
    "lm_head.weight": ((32000, 4096), "matrix"),
    # Llama as Meta saves it
    "tok_embeddings.weight": ((32000, 4096), "embedding"),
    "layers.0.attention.wq.weight": ((4096, 4096), "matrix"),
    "layers.0.feed_forward.w1.weight": ((11008, 4096), "matrix"),
    "layers.0.attention_norm.weight": ((4096,), "norm"),
    "layers.0.ffn_norm.weight": ((4096,), "norm"),
    "output.weight": ((32000, 4096), "matrix"),
    "rope.freqs": ((64,), "buffer"),
    # GPT-2, nanoGPT, GPT-NeoX, BLOOM, OPT, Phi-1, RWKV
    "wte.weight": ((50257, 768), "embedding"),
    "wpe.weight": ((1024, 768), "embedding"),
    "h.0.attn.c_attn.weight": ((768, 2304), "matrix"),
    "h.0.attn.c_attn.bias": ((2304,), "bias"),
    "h.0.attn.bias": ((1, 1, 1024, 1024), "buffer"),
    "h.0.attn.masked_bias": ((), "buffer"),
    "h.0.ln_1.weight": ((768,), "norm"),
    "h.0.ln_1.bias": ((768,), "bias"),
    "ln_f.weight": ((768,), "norm"),
    "transformer.wte.weight": ((50304, 768), "embedding"),
    "transformer.h.11.mlp.c_proj.weight": ((768, 3072), "matrix"),
    "_orig_mod.transformer.h.0.ln_1.weight": ((768,), "norm"),
    "gpt_neox.embed_in.weight": ((50432, 6144), "embedding"),
    "gpt_neox.layers.0.attention.rotary_emb.inv_freq": ((12,), "buffer"),
    "gpt_neox.layers.0.attention.query_key_value.weight": ((18432, 6144), "matrix"),
    "transformer.word_embeddings.weight": ((250880, 1024), "embedding"),
    "transformer.word_embeddings_layernorm.weight": ((1024,), "norm"),
    "transformer.word_embeddings_layernorm.bias": ((1024,), "bias"),
    "model.decoder.project_in.weight": ((1024, 512), "matrix"),
    "transformer.embd.wte.weight": ((51200, 2560), "embedding"),
    "transformer.h.0.mixer.Wqkv.weight": ((7680, 2560), "matrix"),
    "emb.weight": ((50277, 768), "embedding"),
    "blocks.0.ln0.weight": ((768,), "norm"),
    "ln_out.weight": ((768,), "norm"),
    "head.weight": ((50277, 768), "matrix"),
    # BERT, ALBERT, DeBERTa, XLNet, ESM, MiniLM
    "bert.embeddings.word_embeddings.weight": ((30522, 768), "embedding"),
    "bert.embeddings.position_embeddings.weight": ((512, 768), "embedding"),
    "bert.embeddings.token_type_embeddings.weight": ((2, 768), "embedding"),
    "bert.embeddings.LayerNorm.weight": ((768,), "norm"),
    "bert.embeddings.LayerNorm.bias": ((768,), "bias"),
    "bert.embeddings.LayerNorm.gamma": ((768,), "norm"),
    "bert.embeddings.LayerNorm.beta": ((768,), "bias"),
    "bert.encoder.layer.0.attention.self.query.weight": ((768, 768), "matrix"),
    "bert.encoder.layer.0.attention.self.query.bias": ((768,), "bias"),
    "bert.encoder.layer.11.attention.output.LayerNorm.weight": ((768,), "norm"),
    "bert.pooler.dense.weight": ((768, 768), "matrix"),
    "cls.predictions.bias": ((30522,), "bias"),
    "cls.predictions.transform.LayerNorm.weight": ((768,), "norm"),
    "cls.predictions.decoder.weight": ((30522, 768), "matrix"),
    "cls.seq_relationship.weight": ((2, 768), "matrix"),
    "albert.encoder.embedding_hidden_mapping_in.weight": ((768, 128), "matrix"),
    "deberta.encoder.rel_embeddings.weight": ((512, 768), "embedding"),
    "transformer.layer.0.rel_attn.r_w_bias": ((16, 64), "bias"),
    "esm.encoder.layer.0.attention.self.rotary_embeddings.inv_freq": ((32,), "buffer"),
    # T5, BART, Whisper, wav2vec 2.0
    "shared.weight": ((32128, 512), "embedding"),
    "model.shared.weight": ((50265, 1024), "embedding"),
    "encoder.block.0.layer.0.SelfAttention.q.weight": ((512, 512), "matrix"),
    "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight": ((32, 8), "embedding"),
    "encoder.block.0.layer.1.DenseReluDense.wi_0.weight": ((1024, 512), "matrix"),
    "encoder.block.0.layer.1.layer_norm.weight": ((512,), "norm"),
    "encoder.final_layer_norm.weight": ((512,), "norm"),
    "model.encoder.layernorm_embedding.weight": ((1024,), "norm"),
    "model.encoder.layernorm_embedding.bias": ((1024,), "bias"),
    "model.encoder.conv1.weight": ((384, 80, 3), "conv"),
    "model.encoder.embed_positions.weight": ((1500, 384), "embedding"),
    "model.encoder.layers.0.self_attn_layer_norm.weight": ((384,), "norm"),
    "model.decoder.layers.0.encoder_attn.k_proj.weight": ((384, 384), "matrix"),
    "proj_out.weight": ((51865, 384), "matrix"),
    "decoder.positional_embedding": ((448, 384), "embedding"),
    "decoder.token_embedding.weight": ((51865, 384), "embedding"),
    "encoder.blocks.0.attn_ln.weight": ((384,), "norm"),
    "encoder.blocks.0.mlp.0.weight": ((1536, 384), "matrix"),
    "encoder.ln_post.weight": ((384,), "norm"),
    "decoder.ln.weight": ((384,), "norm"),
    "wav2vec2.feature_extractor.conv_layers.0.conv.weight": ((512, 1, 10), "conv"),
    "wav2vec2.feature_extractor.conv_layers.0.layer_norm.weight": ((512,), "norm"),
    "wav2vec2.encoder.pos_conv_embed.conv.bias": ((768,), "bias"),
    "wav2vec2.encoder.pos_conv_embed.conv.weight_g": ((1, 1, 128), "norm"),
    "wav2vec2.encoder.pos_conv_embed.conv.weight_v": ((768, 48, 128), "conv"),
    "wav2vec2.masked_spec_embed": ((768,), "embedding"),
    # ViT, DINOv2, SAM, DETR, CLIP, SegFormer
    "vit.embeddings.cls_token": ((1, 1, 768), "embedding"),
    "vit.embeddings.position_embeddings": ((1, 197, 768), "embedding"),
    "vit.embeddings.patch_embeddings.projection.weight": ((768, 3, 16, 16), "conv"),
    "vit.embeddings.patch_embeddings.projection.bias": ((768,), "bias"),
    "vit.encoder.layer.0.layernorm_before.weight": ((768,), "norm"),
    "classifier.weight": ((1000, 768), "matrix"),
    "cls_token": ((1, 1, 768), "embedding"),
    "pos_embed": ((1, 197, 768), "embedding"),
    "mask_token": ((1, 768), "embedding"),
    "register_tokens": ((1, 4, 1024), "embedding"),
    "patch_embed.proj.weight": ((768, 3, 16, 16), "conv"),
    "patch_embed.proj.bias": ((768,), "bias"),
    "patch_embed.norm.weight": ((96,), "norm"),
    "blocks.0.attn.qkv.weight": ((2304, 768), "matrix"),
    "blocks.0.attn.q_bias": ((768,), "bias"),
    "blocks.0.norm1.weight": ((768,), "norm"),
    "blocks.0.ls1.gamma": ((768,), "norm"),
    "blocks.0.gamma_1": ((768,), "norm"),
    "fc_norm.weight": ((768,), "norm"),
    "image_encoder.pos_embed": ((1, 64, 64, 768), "embedding"),
    "image_encoder.neck.0.weight": ((256, 768, 1, 1), "conv"),
    "image_encoder.neck.1.weight": ((256,), "norm"),
    "prompt_encoder.point_embeddings.0.weight": ((1, 256), "embedding"),
    "mask_decoder.mask_tokens.weight": ((4, 256), "embedding"),
    "query_embed.weight": ((100, 256), "embedding"),
    "bbox_embed.layers.0.weight": ((256, 256), "matrix"),
    "text_model.embeddings.token_embedding.weight": ((49408, 768), "embedding"),
    "text_model.encoder.layers.0.layer_norm1.weight": ((768,), "norm"),
    "vision_model.embeddings.class_embedding": ((1024,), "embedding"),
    "vision_model.embeddings.patch_embedding.weight": ((1024, 3, 14, 14), "conv"),
    "vision_model.pre_layrnorm.weight": ((1024,), "norm"),
    "visual_projection.weight": ((768, 1024), "matrix"),
    "logit_scale": ((), "norm"),
    "visual.proj": ((768, 512), "matrix"),
    "visual.positional_embedding": ((50, 768), "embedding"),
    "positional_embedding": ((77, 512), "embedding"),
    "token_embedding.weight": ((49408, 512), "embedding"),
    "transformer.resblocks.0.attn.in_proj_weight": ((1536, 512), "matrix"),
    "transformer.resblocks.0.attn.in_proj_bias": ((1536,), "bias"),
    "transformer.resblocks.0.ln_1.weight": ((512,), "norm"),
    "text_projection": ((512, 512), "matrix"),
    "segformer.encoder.patch_embeddings.0.proj.weight": ((64, 3, 7, 7), "conv"),
    "segformer.encoder.patch_embeddings.0.layer_norm.weight": ((64,), "norm"),
    # timm: Swin, ConvNeXt, EfficientNet
    "layers.0.blocks.1.attn_mask": ((64, 49, 49), "buffer"),
    "convolution.linear.output_mask": ((64,), "buffer"),
    "layers.1.downsample.reduction.weight": ((384, 768), "matrix"),
    "layers.1.downsample.norm.weight": ((768,), "norm"),
    "stem.0.weight": ((96, 3, 4, 4), "conv"),
    "stem.1.weight": ((96,), "norm"),
    "stages.0.blocks.0.conv_dw.weight": ((96, 1, 7, 7), "conv"),
    "stages.0.blocks.0.gamma": ((96,), "norm"),
    "stages.0.blocks.0.mlp.fc1.weight": ((384, 96), "matrix"),
    "blocks.1.0.se.conv_reduce.weight": ((4, 96, 1, 1), "conv"),
    "head.fc.weight": ((1000, 768), "matrix"),
    # ResNet, VGG, YOLO, spectral norm
    "conv1.weight": ((64, 3, 7, 7), "conv"),
    "bn1.weight": ((64,), "norm"),
    "bn1.bias": ((64,), "bias"),
    "bn1.running_mean": ((64,), "buffer"),
    "bn1.running_var": ((64,), "buffer"),
    "layer1.0.conv1.weight": ((64, 64, 3, 3), "conv"),
    "layer1.0.downsample.0.weight": ((256, 64, 1, 1), "conv"),
    "layer1.0.downsample.1.weight": ((256,), "norm"),
    "layer1.0.downsample.1.running_mean": ((256,), "buffer"),
    "fc.weight": ((1000, 2048), "matrix"),
    "fc.bias": ((1000,), "bias"),
    "features.0.weight": ((64, 3, 3, 3), "conv"),
    "classifier.6.weight": ((1000, 4096), "matrix"),
    "model.22.dfl.conv.weight": ((1, 16, 1, 1), "conv"),
    "conv.weight_orig": ((64, 3, 3, 3), "conv"),
    # LSTM and GRU, Mamba
    "lstm.weight_ih_l0": ((512, 128), "matrix"),
    "lstm.weight_hh_l1": ((512, 128), "matrix"),
    "lstm.weight_hr_l0": ((64, 128), "matrix"),
    "lstm.bias_ih_l0": ((512,), "bias"),
    "lstm.bias_hh_l1_reverse": ((512,), "bias"),
    "gru.weight_ih_l0_reverse": ((384, 128), "matrix"),
    "lstm_cell.weight_ih": ((512, 128), "matrix"),
    "lstm_cell.bias_hh": ((512,), "bias"),
    "backbone.embeddings.weight": ((50280, 768), "embedding"),
    "backbone.layers.0.mixer.in_proj.weight": ((3072, 768), "matrix"),
    "backbone.layers.0.mixer.conv1d.weight": ((1536, 1, 4), "conv"),
    "backbone.layers.0.mixer.conv1d.bias": ((1536,), "bias"),
    "backbone.layers.0.mixer.dt_proj.bias": ((1536,), "bias"),
    "backbone.layers.0.mixer.dt_bias": ((24,), "bias"),
    "backbone.layers.0.mixer.D": ((1536,), "norm"),
    "backbone.layers.0.norm.weight": ((768,), "norm"),
    "backbone.norm_f.weight": ((768,), "norm"),
    # Mixtral, DeepSeek, GPT-OSS, Llama 4: experts
    "model.layers.0.block_sparse_moe.experts.3.w1.weight": ((14336, 4096), "matrix"),
    "model.layers.0.block_sparse_moe.gate.weight": ((8, 4096), "matrix"),
    "model.layers.3.mlp.gate.e_score_correction_bias": ((256,), "buffer"),
    "model.layers.3.mlp.shared_experts.up_proj.weight": ((2048, 7168), "matrix"),
    "model.layers.0.mlp.experts.gate_up_proj": ((32, 2880, 5760), "matrix"),
    "model.layers.0.mlp.experts.gate_up_proj_bias": ((32, 5760), "bias"),
    "language_model.model.layers.0.feed_forward.experts.down_proj": ((16, 8192, 5120), "matrix"),
    # PEFT, kohya and diffusers adapters
    "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight": ((8, 4096), "lora_a"),
    "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight": ((4096, 8), "lora_b"),
    "base_model.model.model.layers.0.mlp.up_proj.lora_A.default.weight": ((8, 4096), "lora_a"),
    "base_model.model.model.layers.0.mlp.up_proj.lora_B.default.weight": ((11008, 8), "lora_b"),
    "base_model.model.model.embed_tokens.lora_embedding_A": ((8, 32000), "lora_a"),
    "base_model.model.model.embed_tokens.lora_embedding_B": ((4096, 8), "lora_b"),
    "base_model.model.model.layers.0.self_attn.q_proj.base_layer.weight": ((64, 64), "matrix"),
    "base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector": ((4096,), "norm"),
    "lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight": ((8, 320, 1, 1), "lora_a"),
    "lora_unet_down_blocks_0_attentions_0_proj_in.lora_up.weight": ((320, 8, 1, 1), "lora_b"),
    "lora_unet_down_blocks_0_attentions_0_proj_in.alpha": ((), "buffer"),
    "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.lora.down.weight": (
        (4, 320),
        "lora_a",
    ),
    "mid_block.attentions.0.transformer_blocks.0.attn1.processor.to_q_lora.up.weight": (
        (1280, 4),
        "lora_b",
    ),
    # diffusers, DiT, Flux
    "conv_in.weight": ((320, 4, 3, 3), "conv"),
    "time_embedding.linear_1.weight": ((1280, 320), "matrix"),
    "time_embedding.linear_1.bias": ((1280,), "bias"),
    "add_embedding.linear_2.weight": ((1280, 1280), "matrix"),
    "down_blocks.0.resnets.0.time_emb_proj.weight": ((320, 1280), "matrix"),
    "down_blocks.0.resnets.0.conv_shortcut.weight": ((640, 320, 1, 1), "conv"),
    "down_blocks.0.attentions.0.norm.weight": ((320,), "norm"),
    "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_out.0.weight": ((320, 320), "matrix"),
    "mid_block.attentions.0.proj_in.weight": ((1280, 1280, 1, 1), "conv"),
    "conv_norm_out.weight": ((320,), "norm"),
    "decoder.mid_block.attentions.0.group_norm.weight": ((512,), "norm"),
    "quant_conv.weight": ((8, 8, 1, 1), "conv"),
    "quantize.embedding.weight": ((8192, 256), "embedding"),
    "blocks.0.adaLN_modulation.1.weight": ((6912, 1152), "matrix"),
    "t_embedder.mlp.0.weight": ((1152, 256), "matrix"),
    "y_embedder.embedding_table.weight": ((1001, 1152), "embedding"),
    "x_embedder.proj.weight": ((1152, 4, 2, 2), "conv"),
    "transformer_blocks.0.norm1.linear.weight": ((18432, 3072), "matrix"),
    "transformer_blocks.0.norm1.linear.bias": ((18432,), "bias"),
    "transformer_blocks.0.attn.norm_q.weight": ((128,), "norm"),
    "single_transformer_blocks.0.norm.linear.weight": ((9216, 3072), "matrix"),
    "context_embedder.weight": ((3072, 4096), "matrix"),
    "time_text_embed.timestep_embedder.linear_1.weight": ((3072, 256), "matrix"),
    # The real files of tests/real-checkpoints.txt and the samples of this project
    "atom_embedding.embedding.weight": ((94, 64), "embedding"),
    "composition_model.fc.weight": ((1, 94), "matrix"),
    "atom_conv_layers.0.twoBody_atom.mlp_core.layers.0.weight": ((64, 192), "matrix"),
    "atom_conv_layers.0.twoBody_atom.mlp_core.layers.0.bias": ((64,), "bias"),
    "atom_conv_layers.0.twoBody_atom.bn1.weight": ((64,), "norm"),
    "embeddings.LayerNorm.weight": ((384,), "norm"),
    "embeddings.token_type_embeddings.weight": ((2, 384), "embedding"),
    "ch_embeddings.weight": ((139, 32), "embedding"),
    "conv1.conv.weight": ((64, 48, 3), "conv"),
    "conv1.bn.running_var": ((64,), "buffer"),
    "lin0.model.1.weight": ((1, 64, 1, 1), "conv"),
    "stft_conv.weight": ((258, 1, 256), "conv"),
    "final_conv.weight": ((1, 128, 1), "conv"),
    "_model.stft.forward_basis_buffer": ((258, 1, 256), "buffer"),
    "_model.encoder.0.reparam_conv.weight": ((128, 129, 3), "conv"),
    "_model.decoder.rnn.weight_ih": ((512, 128), "matrix"),
    "_model.decoder.rnn.bias_ih": ((512,), "bias"),
    "tok_emb.weight": ((103, 48), "embedding"),
    "blocks.0.attn.qkv.bias": ((144,), "bias"),
    # A plain stack of layers, and bare names
    "0.weight": ((10, 5), "matrix"),
    "0.bias": ((10,), "bias"),
    "weight": ((10, 5), "matrix"),
    "bias": ((10,), "bias"),
}

INTEGERS_AND_BOOLS = {
    "bert.embeddings.position_ids": ("I64", (1, 512)),
    "bn1.num_batches_tracked": ("I64", ()),
    "layers.0.blocks.1.attn.relative_position_index": ("I64", (49, 49)),
    "gpt_neox.layers.0.attention.bias": ("BOOL", (1, 1, 2048, 2048)),
    "model.layers.0.self_attn.q_proj.qweight": ("I32", (512, 4096)),
    "model.layers.0.self_attn.q_proj.weight": ("U8", (8388608, 1)),
    "model.embed_tokens.weight": ("I8", (32000, 4096)),
}

PLACES = {
    # name: (layer, family, indices)
    "model.embed_tokens.weight": ("model.embed_tokens", "model.embed_tokens.weight", ()),
    "model.layers.31.mlp.down_proj.weight": (
        "model.layers.31",
        "model.layers.N.mlp.down_proj.weight",
        (31,),
    ),
    "model.layers.0.block_sparse_moe.experts.3.w1.weight": (
        "model.layers.0",
        "model.layers.N.block_sparse_moe.experts.N.w1.weight",
        (0, 3),
    ),
    "lm_head.weight": ("lm_head", "lm_head.weight", ()),
    "h.0.attn.c_attn.weight": ("h.0", "h.N.attn.c_attn.weight", (0,)),
    "transformer.h.11.ln_1.bias": ("transformer.h.11", "transformer.h.N.ln_1.bias", (11,)),
    "_orig_mod.transformer.h.2.ln_1.weight": (
        "_orig_mod.transformer.h.2",
        "_orig_mod.transformer.h.N.ln_1.weight",
        (2,),
    ),
    "bert.embeddings.LayerNorm.weight": (
        "bert.embeddings.LayerNorm",
        "bert.embeddings.LayerNorm.weight",
        (),
    ),
    "bert.encoder.layer.7.attention.self.query.weight": (
        "bert.encoder.layer.7",
        "bert.encoder.layer.N.attention.self.query.weight",
        (7,),
    ),
    "encoder.block.2.layer.1.DenseReluDense.wi_0.weight": (
        "encoder.block.2",
        "encoder.block.N.layer.N.DenseReluDense.wi_0.weight",
        (2, 1),
    ),
    "wav2vec2.feature_extractor.conv_layers.4.conv.weight": (
        "wav2vec2.feature_extractor.conv_layers.4",
        "wav2vec2.feature_extractor.conv_layers.N.conv.weight",
        (4,),
    ),
    "conv1.weight": ("conv1", "conv1.weight", ()),
    "layer1.0.conv1.weight": ("layer1.0", "layer1.N.conv1.weight", (0,)),
    "module.layer4.2.bn3.running_mean": (
        "module.layer4.2",
        "module.layer4.N.bn3.running_mean",
        (2,),
    ),
    "classifier.6.weight": ("classifier.6", "classifier.N.weight", (6,)),
    "model.22.dfl.conv.weight": ("model.22", "model.N.dfl.conv.weight", (22,)),
    "layers.0.blocks.1.attn.qkv.weight": ("layers.0", "layers.N.blocks.N.attn.qkv.weight", (0, 1)),
    "blocks.1.0.se.conv_reduce.weight": ("blocks.1", "blocks.N.N.se.conv_reduce.weight", (1, 0)),
    "down_blocks.0.attentions.1.transformer_blocks.2.attn1.to_out.0.weight": (
        "down_blocks.0",
        "down_blocks.N.attentions.N.transformer_blocks.N.attn1.to_out.N.weight",
        (0, 1, 2, 0),
    ),
    "time_embedding.linear_1.weight": (
        "time_embedding.linear_1",
        "time_embedding.linear_1.weight",
        (),
    ),
    "base_model.model.model.layers.5.self_attn.q_proj.lora_A.default.weight": (
        "base_model.model.model.layers.5",
        "base_model.model.model.layers.N.self_attn.q_proj.lora_A.default.weight",
        (5,),
    ),
    "lstm.weight_ih_l0": ("lstm", "lstm.weight_ih_lN", (0,)),
    "lstm.bias_hh_l1_reverse": ("lstm", "lstm.bias_hh_lN_reverse", (1,)),
    "lstm_cell.weight_ih": ("lstm_cell", "lstm_cell.weight_ih", ()),
    "_model_8k.encoder.3.reparam_conv.bias": (
        "_model_8k.encoder.3",
        "_model_8k.encoder.N.reparam_conv.bias",
        (3,),
    ),
    "atom_conv_layers.2.twoBody_atom.mlp_core.layers.3.weight": (
        "atom_conv_layers.2",
        "atom_conv_layers.N.twoBody_atom.mlp_core.layers.N.weight",
        (2, 3),
    ),
    "backbone.layers.23.mixer.conv1d.weight": (
        "backbone.layers.23",
        "backbone.layers.N.mixer.conv1d.weight",
        (23,),
    ),
    "0.weight": ("0", "N.weight", (0,)),
}

any_name = st.text(max_size=30) | st.lists(
    st.sampled_from(
        ["model", "layers", "0", "12", "007", "l0", "conv1", "N", "", "weight", "²", "٣"]
    ),
    max_size=8,
).map(".".join)


@pytest.mark.parametrize("name", FLOATS)
def test_the_role_of_a_weight_is_what_an_engineer_says(name):
    shape, expected = FLOATS[name]
    assert role(name, DTYPES["BF16"], shape) == expected


@pytest.mark.parametrize("name", INTEGERS_AND_BOOLS)
def test_integers_and_bools_are_buffers(name):
    dtype, shape = INTEGERS_AND_BOOLS[name]
    assert role(name, DTYPES[dtype], shape) == "buffer"


@pytest.mark.parametrize("dtype", ["F64", "F32", "F16", "F8_E4M3"])
def test_the_role_does_not_depend_on_the_precision(dtype):
    for name, (shape, _) in FLOATS.items():
        assert role(name, DTYPES[dtype], shape) == role(name, DTYPES["BF16"], shape)


@pytest.mark.parametrize("name", PLACES)
def test_the_layer_is_the_path_up_to_the_first_index(name):
    assert layer(name) == PLACES[name][0]


@pytest.mark.parametrize("name", PLACES)
def test_the_family_has_n_for_each_index(name):
    assert family(name) == PLACES[name][1]


@pytest.mark.parametrize("name", PLACES)
def test_the_indices_come_in_order(name):
    assert indices(name) == PLACES[name][2]


@pytest.mark.parametrize(
    "module", ["self_attn.q_proj.weight", "mlp.experts.3.w1.weight", "norm.weight"]
)
def test_blocks_of_one_model_are_one_family(module):
    names = [f"model.layers.{block}.{module}" for block in range(12)]
    assert len({family(name) for name in names}) == 1
    assert len({layer(name) for name in names}) == 12
    assert sorted(names, key=indices) == names


@given(name=any_name)
def test_any_name_has_a_layer_it_starts_with(name):
    assert name.startswith(layer(name))


@given(name=any_name)
def test_the_family_of_a_family_is_itself(name):
    assert family(family(name)) == family(name)


@given(parts=st.lists(st.sampled_from(["model", "layers", "w_1", "l2"]) | st.integers(0, 500)))
def test_indices_are_the_parts_that_are_numbers(parts):
    name = ".".join(map(str, parts))
    assert indices(name) == tuple(part for part in parts if isinstance(part, int))
    assert family(name) == ".".join("N" if isinstance(part, int) else part for part in parts)


@given(
    name=any_name,
    dtype=st.sampled_from(sorted(DTYPES)),
    shape=st.lists(st.integers(0, 5000), max_size=5).map(tuple),
)
def test_any_name_and_shape_has_a_role(name, dtype, shape):
    assert role(name, DTYPES[dtype], shape) in ROLES


def test_an_index_may_fill_the_longest_name():
    name = f"layers.{'1' * (LONGEST - len('layers..weight'))}.weight"
    assert family(name) == "layers.N.weight"
    assert len(indices(name)) == 1


@cache
def seconds(name):
    return cpu_seconds_of(
        lambda: (layer(name), family(name), indices(name), role(name, DTYPES["F32"], (3, 3)))
    )


@pytest.mark.parametrize("part", ["_", "a_", "bias_", "ln_", "_tok", ".", "/", "1.", "norm", "emb"])
def test_no_long_name_takes_ten_times_as_long_as_a_plain_one(part):
    """A file may hold tens of thousands of names, and a pattern must not backtrack over them."""
    plain = "model.layers.0.mlp.up_proj." * 40
    assert seconds((part * LONGEST)[:LONGEST]) < 10 * seconds(plain[:LONGEST])
