"""Writes shards.json: how huggingface_hub cuts weights into shards, and the
index that transformers writes for them.

    pip install huggingface_hub==2.4.0 && python make_shards.py
"""

import json
import pathlib

from huggingface_hub.serialization import split_state_dict_into_shards_factory

cases = [
    {"limit": 100, "sizes": [40, 40, 20, 40]},  # exactly full, then over
    {"limit": 100, "sizes": [60, 60, 20, 60, 20, 20]},
    {"limit": 100, "sizes": [20, 300, 20, 100, 4, 400]},  # larger than a shard
    {"limit": 100, "sizes": [300]},
    {"limit": 100, "sizes": [300, 300]},
    {"limit": 1000, "sizes": [40, 0, 40]},  # no need to cut
]
for case in cases:
    sizes = {f"t{i}": size for i, size in enumerate(case["sizes"])}
    split = split_state_dict_into_shards_factory(
        sizes,
        get_storage_size=lambda size: size,
        get_storage_id=lambda size: None,
        filename_pattern="model{suffix}.safetensors",
        max_shard_size=case["limit"],
    )
    case["files"] = split.filename_to_tensors
    if split.is_sharded:
        index = {"metadata": split.metadata, "weight_map": split.tensor_to_filename}
        case["index"] = json.dumps(index, indent=2, sort_keys=True) + "\n"
path = pathlib.Path(__file__).parent / "shards.json"
path.write_text(json.dumps(cases, indent=1) + "\n")
