"""Converts the models to GGUF with llama.cpp's own converter and writes down the result.

For every model under models/, gguf_reference.json holds each metadata entry and
each tensor of the f32 GGUF file that `convert_hf_to_gguf.py` writes. The files
themselves go to --out, where make_presets.py reads them.

The converter knows a pre-tokenizer by a hash of the ids that it gives for one
text, so it knows none of the tokenizers here: each is told apart by its regex,
which is what the name stands for.

    python make_gguf_reference.py --llama-cpp-source DIR --fixture DIR --out DIR
"""

import argparse
import contextlib
import hashlib
import json
import struct
import sys
from pathlib import Path

import numpy as np

SHOWN = 20  # An array of more entries than this is given as a hash and its first ones.


def pre_tokenizer_name(folder):
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    pre_tokenizer = json.dumps(tokenizer["pre_tokenizer"])
    if r"\\p{N}{1,3}" in pre_tokenizer:
        return "llama-bpe"
    if r"\\p{N}|" in pre_tokenizer:
        return "qwen2"
    assert tokenizer["pre_tokenizer"]["type"] == "ByteLevel", pre_tokenizer
    return "gpt-2"


def convert(source, folder, out):
    """Runs the converter inside this process, with the pre-tokenizer's name given."""
    sys.path.insert(0, str(source))
    import convert_hf_to_gguf
    from conversion.base import TextModel

    TextModel.get_vocab_base_pre = lambda self, tokenizer: pre_tokenizer_name(folder)
    command = ["convert_hf_to_gguf.py", str(folder), "--outfile", str(out), "--outtype", "f32"]
    before, sys.argv = sys.argv, command
    try:
        with contextlib.redirect_stdout(sys.stderr):
            convert_hf_to_gguf.main()
    finally:
        sys.argv = before


def entry(field, types):
    """A metadata entry; `sha256` is of an array's elements as they stand in the file."""
    kind = field.types[0]
    if kind != types.ARRAY:
        return {"type": kind.name.lower(), "value": field.contents()}
    element = field.types[1]
    values = field.contents()
    described = {"type": f"array[{element.name.lower()}]", "length": len(values)}
    if len(values) <= SHOWN:
        return described | {"value": values}
    digest = hashlib.sha256()
    if element == types.STRING:
        for text in values:
            data = text.encode()
            digest.update(struct.pack("<Q", len(data)) + data)
    else:
        for index in field.data:
            digest.update(field.parts[index].tobytes())
    return described | {"first": values[:SHOWN], "sha256": digest.hexdigest()}


def describe(path):
    import gguf

    reader = gguf.GGUFReader(path)
    metadata = {
        name: entry(field, gguf.GGUFValueType)
        for name, field in reader.fields.items()
        if not name.startswith("GGUF.")
    }
    tensors = []
    for tensor in reader.tensors:
        values = gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        tensors.append(
            {
                "name": tensor.name,
                "dimensions": [int(n) for n in tensor.shape],
                "type": tensor.tensor_type.name.lower(),
                "sha256_f32": hashlib.sha256(values.tobytes()).hexdigest(),
            }
        )
    return metadata, tensors


def write_reference(path, metadata, tensors):
    fields = ",\n  ".join(
        f"{json.dumps(name)}: {json.dumps(value)}" for name, value in metadata.items()
    )
    rows = ",\n  ".join(json.dumps(tensor) for tensor in tensors)
    path.write_text(
        '{\n "note": "dimensions are in GGUF order, fastest first; sha256_f32 is of the '
        'little-endian f32 values; metadata and tensors are in file order",\n'
        f' "metadata": {{\n  {fields}\n }},\n "tensors": [\n  {rows}\n ]\n}}\n'
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--llama-cpp-source", type=Path, required=True)
    parser.add_argument("--models", type=Path, default=Path(__file__).with_name("models"))
    parser.add_argument("--fixture", type=Path, help="also convert this folder, as fixture.gguf")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    # The converter's own copy of the gguf package must be found before any other.
    sys.path.insert(0, str(arguments.llama_cpp_source / "gguf-py"))
    for folder in sorted(p.parent for p in arguments.models.glob("*/config.json")):
        out = arguments.out / f"{folder.name}.gguf"
        convert(arguments.llama_cpp_source, folder, out)
        metadata, tensors = describe(out)
        write_reference(folder / "gguf_reference.json", metadata, tensors)
    if arguments.fixture:
        convert(arguments.llama_cpp_source, arguments.fixture, arguments.out / "fixture.gguf")


if __name__ == "__main__":
    main()
