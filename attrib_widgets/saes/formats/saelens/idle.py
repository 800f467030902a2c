"""What a SAELens config may say that no number depends on: how a dictionary was trained, and on what."""

from __future__ import annotations

_TRAINING = """
    aux_loss_coefficient b_dec_init_method context_size dataset_path dataset_trust_remote_code decoder_heuristic_init
    decoder_init_norm decoder_orthogonal_init device dtype hook_layer hook_layer_out hook_point_layer
    init_encoder_as_decoder_transpose jumprelu_bandwidth jumprelu_init_threshold jumprelu_sparsity_loss_mode
    jumprelu_ste_to_input jumprelu_tanh_scale l0_coefficient l0_warm_up_steps l1_coefficient l1_warm_up_steps lp_norm
    matryoshka_widths model_class_name model_name mse_loss_normalization neuronpedia_id noise_scale
    normalize_sae_decoder pre_act_loss_coefficient prepend_bos sae_lens_training_version sae_lens_version
    scale_sparsity_penalty_by_decoder_norm seqpos_slice target_l0 topk_threshold_lr use_ghost_grads
    use_matryoshka_aux_loss use_sparse_activations
"""
# Up to version 2 all settings of the run stand in the config.
_RUN = """
    act_store_device activations_mixing_fraction adam_beta1 adam_beta2 autocast autocast_lm buffer_size_gb
    cached_activations_path checkpoint_path compile_llm compile_sae dataset_name dead_feature_estimation_method
    dead_feature_threshold dead_feature_window decoder_heuristic_init_norm disable_concat_sequences
    eval_batch_size_prompts eval_every_n_wandb_logs exclude_special_tokens expansion_factor feature_reinit_scale
    feature_sampling_method feature_sampling_window finetuning_tokens from_pretrained_path hook_eval hook_point_eval
    is_dataset_tokenized llm_compilation_mode log_activations_store_to_wandb log_optimizer_state_to_wandb log_to_wandb
    lr lr_decay_steps lr_end lr_scheduler_name lr_warm_up_steps n_batches_in_buffer n_checkpoints n_eval_batches
    n_eval_seqs n_restart_cycles n_shuffles_final n_shuffles_in_entire_dir n_shuffles_with_last_section
    new_cached_activations_path resample_batches resume run_name sae_compilation_mode seed shuffle_every_n_buffers
    store_batch_size store_batch_size_prompts streaming tokens_per_buffer total_training_steps total_training_tokens
    train_batch_size train_batch_size_tokens training_tokens use_cached_activations verbose wandb_entity wandb_id
    wandb_log_frequency wandb_project
"""
IDLE = frozenset(f"{_TRAINING} {_RUN}".split())
