"""Writes presets.json: which type llama-quantize gives each tensor under each preset.

The models are the ones that make_gguf_reference.py converted, the demo fixture
(with an importance matrix), and models that exist for this alone: real depths
and head counts around small matrices of zeros, which show the rules that depend
on the place of a block, on grouped heads and on rows that no K-quant fits.

    python make_presets.py --llama-cpp BIN_DIR --gguf DIR --imatrix FILE --work DIR
"""

import argparse
import json
import subprocess
from pathlib import Path

import gguf
import numpy as np

PRESETS = ["Q2_K", "Q3_K_S", "Q3_K_M", "Q4_K_S", "Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0"]
CONVERTED = ["fixture", "llama", "llama-linear", "mistral", "qwen2", "qwen3"]

# arch, n_layer, n_head, n_kv, hidden, intermediate, vocab, tied[, head_dim]
SHAPES = {
    "llama-32-gqa4": ("llama", 32, 8, 2, 256, 256, 320, False),
    "llama-32-gqa3": ("llama", 32, 12, 4, 768, 256, 320, False),
    "llama-16-tied-gqa4": ("llama", 16, 8, 2, 256, 256, 320, True),
    "llama-22-gqa8": ("llama", 22, 16, 2, 256, 256, 320, False),
    "llama-7-mha": ("llama", 7, 4, 4, 256, 256, 320, False),
    # llama.cpp names a model 70B by its depth: 80 blocks, and for this
    # architecture fewer key/value heads than heads.
    "llama-80-gqa8": ("llama", 80, 16, 2, 256, 256, 320, False),
    "llama-80-gqa2": ("llama", 80, 4, 2, 256, 256, 320, False),
    "llama-80-mha": ("llama", 80, 4, 4, 256, 256, 320, False),
    "qwen2-28-tied": ("qwen2", 28, 4, 2, 256, 512, 320, True),
    "qwen2-80-gqa8": ("qwen2", 80, 16, 2, 256, 256, 320, False),
    "qwen2-80-mha": ("qwen2", 80, 4, 4, 256, 256, 320, False),
    "qwen3-36": ("qwen3", 36, 8, 2, 256, 512, 320, False, 64),
    "qwen3-28-tied": ("qwen3", 28, 4, 2, 256, 512, 320, True, 128),
    # Rows of 320 and 864 fit the 32-wide types alone.
    "llama-8-rows-of-32": ("llama", 8, 4, 2, 320, 864, 320, False),
    "llama-8-rows-of-32-tied": ("llama", 8, 4, 2, 320, 864, 320, True),
    # A row of 344 fits no block type at all.
    "llama-8-odd-rows": ("llama", 8, 4, 2, 256, 344, 320, False),
    "llama-8-odd-hidden-tied": ("llama", 8, 4, 4, 200, 512, 320, True),
    # The attention's output has rows of heads * head_dim, not of the hidden size.
    "qwen3-8-narrow-heads": ("qwen3", 8, 4, 2, 256, 512, 320, False, 48),
}
FIELDS = ["arch", "n_layer", "n_head", "n_kv", "hidden", "intermediate", "vocab", "tied", "head_dim"]


def hyperparameters(shape):
    values = dict(zip(FIELDS, shape))
    values.setdefault("head_dim", values["hidden"] // values["n_head"])
    return values


def synthesize(path, h):
    writer = gguf.GGUFWriter(path, h["arch"])
    writer.add_block_count(h["n_layer"])
    writer.add_context_length(512)
    writer.add_embedding_length(h["hidden"])
    writer.add_feed_forward_length(h["intermediate"])
    writer.add_head_count(h["n_head"])
    writer.add_head_count_kv(h["n_kv"])
    writer.add_key_length(h["head_dim"])
    writer.add_value_length(h["head_dim"])
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(h["head_dim"])
    writer.add_vocab_size(h["vocab"])
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)

    def tensor(name, *shape):
        writer.add_tensor(name, np.zeros(shape, dtype=np.float32))

    hidden, query, key = h["hidden"], h["n_head"] * h["head_dim"], h["n_kv"] * h["head_dim"]
    tensor("token_embd.weight", h["vocab"], hidden)
    for block in range(h["n_layer"]):
        prefix = f"blk.{block}"
        tensor(f"{prefix}.attn_norm.weight", hidden)
        tensor(f"{prefix}.attn_q.weight", query, hidden)
        tensor(f"{prefix}.attn_k.weight", key, hidden)
        tensor(f"{prefix}.attn_v.weight", key, hidden)
        tensor(f"{prefix}.attn_output.weight", hidden, query)
        if h["arch"] == "qwen2":
            tensor(f"{prefix}.attn_q.bias", query)
            tensor(f"{prefix}.attn_k.bias", key)
            tensor(f"{prefix}.attn_v.bias", key)
        if h["arch"] == "qwen3":
            tensor(f"{prefix}.attn_q_norm.weight", h["head_dim"])
            tensor(f"{prefix}.attn_k_norm.weight", h["head_dim"])
        tensor(f"{prefix}.ffn_norm.weight", hidden)
        tensor(f"{prefix}.ffn_gate.weight", h["intermediate"], hidden)
        tensor(f"{prefix}.ffn_up.weight", h["intermediate"], hidden)
        tensor(f"{prefix}.ffn_down.weight", hidden, h["intermediate"])
    tensor("output_norm.weight", hidden)
    if not h["tied"]:
        tensor("output.weight", h["vocab"], hidden)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def read_hyperparameters(path):
    reader = gguf.GGUFReader(path)

    def value(name):
        return reader.get_field(name).contents()

    arch = value("general.architecture")
    names = {t.name for t in reader.tensors}
    heads, hidden = value(f"{arch}.attention.head_count"), value(f"{arch}.embedding_length")
    key_length = reader.get_field(f"{arch}.attention.key_length")
    return {
        "arch": arch,
        "n_layer": value(f"{arch}.block_count"),
        "n_head": heads,
        "n_kv": value(f"{arch}.attention.head_count_kv"),
        "hidden": hidden,
        "intermediate": value(f"{arch}.feed_forward_length"),
        "vocab": len(value("tokenizer.ggml.tokens")),
        "tied": "output.weight" not in names,
        "head_dim": key_length.contents() if key_length else hidden // heads,
    }


def quantize(binary, source, out, preset, imatrix=None):
    command = [binary, "--imatrix", imatrix] if imatrix else [binary]
    subprocess.run(
        [*map(str, command), str(source), str(out), preset, "2"], check=True, capture_output=True
    )
    reader = gguf.GGUFReader(out)
    result = {
        "bytes": out.stat().st_size,
        "data_bytes": out.stat().st_size - reader.data_offset,
        "tensors": {
            t.name: t.tensor_type.name.lower()
            for t in sorted(reader.tensors, key=lambda t: int(t.data_offset))
            if len(t.shape) > 1
        },
    }
    out.unlink()
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--llama-cpp", type=Path, required=True, help="folder of llama-quantize")
    parser.add_argument("--gguf", type=Path, required=True, help="folder of the f32 GGUF files")
    parser.add_argument("--imatrix", type=Path, required=True, help="the fixture's")
    parser.add_argument("--work", type=Path, required=True, help="folder for passing files")
    parser.add_argument("--llama-cpp-version", required=True)
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    binary = arguments.llama_cpp / "llama-quantize"
    out = arguments.work / "quantized.gguf"

    results = {}
    for name in CONVERTED + list(SHAPES):
        if name in SHAPES:
            source = arguments.work / "synthesized.gguf"
            h = hyperparameters(SHAPES[name])
            synthesize(source, h)
        else:
            source = arguments.gguf / f"{name}.gguf"
            h = read_hyperparameters(source)
        imatrix = arguments.imatrix if name == "fixture" else None
        results[name] = {
            "hyperparameters": h,
            "synthesized": name in SHAPES,
            "imatrix": imatrix is not None,
            "presets": {p: quantize(binary, source, out, p, imatrix) for p in PRESETS},
        }
        print(name, flush=True)
    (arguments.work / "synthesized.gguf").unlink()

    note = (
        "Types of the tensors with two dimensions; all others stay f32. bytes is the whole file, "
        "data_bytes its tensor data with the padding. A file made with an importance matrix names "
        "it in its metadata, so there bytes depends on where the matrix lies."
    )
    lines = ["{", f' "llama_cpp": {json.dumps(arguments.llama_cpp_version)},']
    lines += [f' "note": {json.dumps(note)},', ' "models": {']
    for number, (name, model) in enumerate(results.items()):
        head = {key: value for key, value in model.items() if key != "presets"}
        lines.append(f"  {json.dumps(name)}: {json.dumps(head)[:-1]}, \"presets\": {{")
        presets = [
            f"   {json.dumps(preset)}: {json.dumps(result, separators=(',', ':'))}"
            for preset, result in model["presets"].items()
        ]
        lines.append(",\n".join(presets))
        lines.append("  }}" + ("," if number + 1 < len(results) else ""))
    text = "\n".join(lines + [" }", "}"]) + "\n"
    assert json.loads(text)["models"] == results
    Path(__file__).with_name("presets.json").write_text(text)


if __name__ == "__main__":
    main()
