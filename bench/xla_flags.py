"""Sets of XLA flags for GPUs that may make a step faster, each to be measured: train.py or generate.py --flags NAME,... or all.

Each differs from the default of the plugin in jax-cuda13-pjrt 0.11.2, as its dump of a compiled module's configuration
shows. Flags that only matter between GPUs aren't here (asynchronous and pipelined collectives, collective matrix
products).
"""

import sys

BOTH = {
    "no-triton-gemm": (
        "--xla_gpu_enable_triton_gemm=false",
        "cuBLAS for every product, whose large bfloat16 ones are the best; nothing is fused into them; less to compile"),
    "no-cublaslt": (
        "--xla_gpu_enable_cublaslt=false",
        "plain cuBLAS, which has fewer kernels to choose from and fuses no bias or activation: what cuBLASLt is worth"),
    "no-autotune": (
        "--xla_gpu_autotune_level=0", "defaults instead of timing: what the search is worth, and what it costs at the start"),
    "autotune-unchecked": (
        "--xla_gpu_autotune_level=2", "times candidates without comparing their results: a shorter start"),
    "no-fusion-autotuner": (
        "--xla_gpu_experimental_enable_fusion_autotuner=false",
        "fusions (norms, softmax, the optimizer) by rule instead of by timing: a shorter start"),
    "no-command-buffers": (
        "--xla_gpu_enable_command_buffer=", "every kernel launched by itself: what CUDA graphs are worth, and their memory"),
}
TRAINING = BOTH | {
    # Matrix products: whose kernel.
    "triton-gemm-some": (
        "--xla_gpu_triton_gemm_any=false",
        "Triton only where something can be fused into the product: fewer candidates to time"),
    "cudnn-gemm": (
        "--xla_gpu_cudnn_gemm_fusion_level=2",
        "cuDNN's fused kernels, written for Hopper's pipelines, as a further candidate"),
    "warp-specialized": (
        "--xla_gpu_experimental_enable_triton_warp_specialization=true",
        "Triton's kernels load in some warps while others multiply, as Hopper's fastest do"),
    "merge-dots": (
        "--xla_gpu_dot_merger_threshold_mb=1024",
        "one product in place of several that share an input (q, k, v; gate and up), for larger ones than by default"),
    # Launching kernels.
    "small-command-buffers": (
        "--xla_gpu_graph_min_graph_size=1", "graphs of a single kernel too: short steps wait for launches"),
    # Between the products.
    "cudnn-norm": (
        "--xla_gpu_enable_cudnn_layer_norm=true", "cuDNN's layer norm, which OPT has, in place of a fusion"),
    "triton-multi-output": (
        "--xla_gpu_unsupported_enable_triton_multi_output_fusion=true",
        "one kernel for a norm and for what else reads its input: fewer passes over activations"),
    "same-shape-multi-output": (
        "--xla_gpu_experimental_enable_same_shape_multi_output_fusion=true",
        "one kernel for several updates of one shape: fewer launches in the optimizer"),
    "latency-hiding": (
        "--xla_gpu_enable_latency_hiding_scheduler=true",
        "matters between GPUs; on one only the order changes: a check that it costs neither time nor memory"),
}
WRITING = BOTH | {
    # A token of a single row is some 14 kernels a layer, four of which read weights: how the others are launched counts.
    "loop-in-graph": (
        "--xla_gpu_enable_command_buffer=+WHILE", "the loop over tokens inside a CUDA graph, too: no word to the host for each token"),
    "concurrent-graph": (
        "--xla_gpu_command_buffer_scheduling_mode=CONCURRENT", "kernels wait for what they read alone, not for their place in the schedule"),
    "serial-graph": (
        "--xla_gpu_command_buffer_scheduling_mode=SERIALIZE", "one kernel after the other: what it is worth that keys and values are kept side by side"),
    "no-pdl": (
        "--xla_gpu_enable_pdl=false --xla_gpu_enable_pdl_launch=false",
        "a kernel starts when the one before it has ended: what starting it earlier is worth"),
    "triton-multi-output": TRAINING["triton-multi-output"],
    "cudnn-gemm": TRAINING["cudnn-gemm"],
}


def chosen(names, sets):
    """The flags of the sets that --flags names, or names themselves where they are flags."""
    if not names:
        return []
    if names.startswith("--"):
        return [names]
    wanted = list(sets) if names == "all" else names.split(",")
    if unknown := set(wanted) - set(sets):
        sys.exit(f"bench: no set of XLA flags {', '.join(sorted(unknown))}; there are {', '.join(sets)}")
    return [sets[name][0] for name in wanted]
