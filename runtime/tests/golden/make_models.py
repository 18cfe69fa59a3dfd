"""Makes the tiny random models under models/ and what `transformers` says about them.

Every folder has the layout of a model hub folder: config.json, the weights as
safetensors, tokenizer.json and tokenizer_config.json. Beside them, golden.json
holds logits in f32 for a few prompts and token ids for a list of awkward texts.

The models are as small as their purpose allows, because they are kept with the
sources: those in f16 and bf16 have rows that every K-quant fits, those in f32
are narrower, so that most of their rows fit the 32-wide block types alone.

    pip install -r requirements.txt
    python make_models.py
"""

import argparse
import io
import json
import math
from pathlib import Path

import numpy as np
import sentencepiece
import tokenizers
import torch
import transformers
from safetensors.torch import save_file
from sentencepiece import sentencepiece_model_pb2
from tokenizers import AddedToken, Regex, Tokenizer
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

TRAINING_TEXT = """\
A quantized model holds every weight in fewer bits than it was trained with.
The weights of a layer are cut into blocks; every block has a scale, and the
numbers in the block are small integers that the scale brings back to size.
Some layers lose little when they are held in three bits, others lose a lot in
five. That is why the precision of each layer is searched for and measured, on
the machine that will run the model, with the kernels that it will run.

The first layers and the last ones are often the most sensitive. The values of
the attention and the down projections come next. The output layer is large and
it is read for every token, so it matters for the speed as well as the quality.
We don't guess: we'll measure the time that it takes, and what it's worth, and
they're both kept. It isn't enough to add the losses of the layers one by one.

fn main() {
    let mut total = 0;
    for index in 0..10 {
        total += index * 2;
        println!("{} {}", index, total);
    }
    if total > 40 { return; }
}

def measure(model, tokens):
    for token in tokens:
        yield model(token)

pub struct Plan { pub name: String, pub bytes: u64 }
impl Plan { pub fn size(&self) -> u64 { self.bytes } }

1 2 3 4 5 6 7 8 9 10 11 12 100 200 256 1024 2048 4096 3.14 0.5
"""

# What tokenizers disagree about: runs of white space, line ends, contractions,
# digits, letters outside ASCII, combining marks, emoji, code, the text of
# special tokens, and characters that no tokenizer of this size has seen.
TEXTS = [
    "",
    " ",
    "   ",
    "\n",
    "\n\n\n",
    " \n \n\n \t\t x",
    "The layers of a model.",
    " leading space",
    "trailing space ",
    "two  spaces   three    four",
    "tab\tand\r\nline ends\r",
    "I'm we'll they're it's DON'T we'Ve a'lL",
    "1 22 333 4444 55555 666666 7777777",
    "3.14159, 1e-5, 0x1F, 1,000,000",
    "fn main() {\n    println!(\"{}\", 1 + 2);\n}\n",
    "def f(x):\n\treturn x**2  # square\n",
    "snake_case camelCase kebab-case ::path::to<T>",
    "Gruesse, Grüße, ΑΒΓ, нещо, 工作, ภาษา, كلمة",
    "e\u0301 versus \u00e9, a\u030a, \u212b",
    "emoji 🚀 😶\u200d🌫️ 👩🏽\u200d💻 ✅🦙🦙",
    "no-break\u00a0space, ideographic\u3000space, zero\u200bwidth",
    "\u2581already\u2581marked\u2581",
    "......!!!!!!?????? ---===--- ''''\"\"\"\"",
    "<s>text</s> and <unk>",
    "a<|endoftext|>b <|begin_of_text|><|end_of_text|>",
    "<|im_start|>user\nHello<|im_end|>\n",
    "<0x41> \x00\x01\x7f end",
    "supercalifragilisticexpialidocious",
]

PROMPT_LENGTHS = [1, 7, 48]
POSITIONS = {1: [0], 7: [0, 3, 6], 48: [0, 1, 15, 31, 46, 47]}

LLAMA3_REGEX = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2_REGEX = LLAMA3_REGEX.replace(r"\p{N}{1,3}", r"\p{N}")

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


# Tokenizers


def train_byte_level(size, specials_first, specials_last, pre_tokenizer, **model):
    """A byte-level BPE tokenizer of `size` tokens, special tokens included."""
    tokenizer = Tokenizer(models.BPE(**model))
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size - len(specials_last),
        special_tokens=[AddedToken(t, special=True) for t in specials_first],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([TRAINING_TEXT], trainer)
    if specials_last:
        tokenizer.add_special_tokens([AddedToken(t, special=True) for t in specials_last])
    assert tokenizer.get_vocab_size() == size, tokenizer.get_vocab_size()
    return tokenizer


def split_by(regex):
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(regex), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def starts_with(token, token_id, before=()):
    return processors.Sequence(
        [
            *before,
            processors.TemplateProcessing(
                single=[token, "$A"],
                pair=[token, "$A", f"{token}:1", "$B:1"],
                special_tokens=[(token, token_id)],
            ),
        ]
    )


def llama3_tokenizer(folder, size):
    """As Llama 3 has it: the special tokens last, whole words before merges."""
    specials = ["<|begin_of_text|>", "<|end_of_text|>"]
    tokenizer = train_byte_level(size, [], specials, split_by(LLAMA3_REGEX), ignore_merges=True)
    begin = tokenizer.token_to_id(specials[0])
    tokenizer.post_processor = starts_with(
        specials[0], begin, [processors.ByteLevel(trim_offsets=False)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    return {"bos_token": specials[0], "eos_token": specials[1]}


def gpt2_tokenizer(folder, size):
    """As GPT-2 has it: the one special token first, the fixed regex of the byte level."""
    special = "<|endoftext|>"
    tokenizer = train_byte_level(
        size, [special], [], pre_tokenizers.ByteLevel(add_prefix_space=False)
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    return {"bos_token": special, "eos_token": special, "add_bos_token": False}


def qwen2_tokenizer(folder, size):
    """As Qwen2 has it: normal form C, one digit per token, a chat template."""
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer = train_byte_level(size, [], specials, split_by(QWEN2_REGEX))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer.save(str(folder / "tokenizer.json"))
    return {
        "add_bos_token": False,
        "add_prefix_space": False,
        "bos_token": None,
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "unk_token": None,
        "chat_template": CHAT_TEMPLATE,
    }


def sentencepiece_tokenizer(folder, size):
    """As Llama 2 and the first Mistral have it: SentencePiece BPE with byte fallback.

    The folder also gets tokenizer.model, the file that llama.cpp's converter
    reads the scores from.
    """
    stream = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TRAINING_TEXT.splitlines()),
        model_writer=stream,
        model_type="bpe",
        vocab_size=size,
        byte_fallback=True,
        character_coverage=1.0,
        split_digits=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        num_threads=1,
        minloglevel=2,
    )
    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(stream.getvalue())
    (folder / "tokenizer.model").write_bytes(proto.SerializeToString(deterministic=True))

    vocabulary = {piece.piece: index for index, piece in enumerate(proto.pieces)}
    normal = sentencepiece_model_pb2.ModelProto.SentencePiece.NORMAL
    scores = {p.piece: p.score for p in proto.pieces if p.type == normal}
    merges = []
    for piece, score in scores.items():
        splits = [
            (piece[:cut], piece[cut:])
            for cut in range(1, len(piece))
            if piece[:cut] in scores and piece[cut:] in scores
        ]
        splits.sort(key=lambda pair: (vocabulary[pair[0]], vocabulary[pair[1]]))
        merges.extend((score, pair) for pair in splits)
    merges = [pair for _, pair in sorted(merges, key=lambda m: m[0], reverse=True)]

    tokenizer = Tokenizer(
        models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    tokenizer.add_special_tokens(
        [AddedToken(t, special=True, normalized=False) for t in ("<unk>", "<s>", "</s>")]
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("\u2581", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    tokenizer.post_processor = starts_with("<s>", 1)
    tokenizer.save(str(folder / "tokenizer.json"))

    assert tokenizer.get_vocab_size() == size
    reference = sentencepiece.SentencePieceProcessor(model_proto=proto.SerializeToString())
    for text in TEXTS:
        # SentencePiece knows no special tokens in text, and cuts it at a NUL.
        if text and "<s>" not in text and "\x00" not in text:
            ours = tokenizer.encode(text, add_special_tokens=False).ids
            assert ours == reference.encode(text), (text, ours, reference.encode(text))
    return {
        "add_bos_token": True,
        "add_eos_token": False,
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "legacy": True,
    }


# Models

LLAMA = {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}
COMMON = {
    "hidden_act": "silu",
    "num_hidden_layers": 2,
    "attention_dropout": 0.0,
    "initializer_range": 0.02,
    "use_cache": True,
}

MODELS = {
    "llama": {
        "seed": 101,
        "tokenizer": llama3_tokenizer,
        "tokens": 320,
        "dtype": torch.float32,
        "config": LLAMA
        | COMMON
        | {
            "vocab_size": 320,
            "hidden_size": 128,
            "intermediate_size": 256,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "attention_bias": False,
            "mlp_bias": False,
            "max_position_embeddings": 512,
            "rms_norm_eps": 1e-05,
            "rope_theta": 500000.0,
            # The original length is short, so that the prompts reach past it
            # and all three branches of the rule are taken.
            "rope_scaling": {
                "factor": 8.0,
                "high_freq_factor": 4.0,
                "low_freq_factor": 1.0,
                "original_max_position_embeddings": 64,
                "rope_type": "llama3",
            },
            "tie_word_embeddings": False,
            "bos_token_id": 318,
            "eos_token_id": 319,
            "torch_dtype": "float32",
        },
    },
    "llama-linear": {
        "seed": 102,
        "tokenizer": gpt2_tokenizer,
        "tokens": 320,
        "dtype": torch.float16,
        "config": LLAMA
        | COMMON
        | {
            "vocab_size": 320,
            "hidden_size": 256,
            "intermediate_size": 512,
            "num_attention_heads": 4,
            "num_key_value_heads": 4,
            "max_position_embeddings": 512,
            "rms_norm_eps": 1e-06,
            "rope_theta": 10000.0,
            "rope_scaling": {"factor": 4.0, "type": "linear"},
            "tie_word_embeddings": True,
            "bos_token_id": 0,
            "eos_token_id": 0,
            "torch_dtype": "float16",
        },
    },
    "mistral": {
        "seed": 103,
        "tokenizer": sentencepiece_tokenizer,
        "tokens": 384,
        "dtype": torch.bfloat16,
        "config": COMMON
        | {
            "architectures": ["MistralForCausalLM"],
            "model_type": "mistral",
            "vocab_size": 384,
            "hidden_size": 256,
            "intermediate_size": 512,
            "num_attention_heads": 8,
            "num_key_value_heads": 2,
            "max_position_embeddings": 512,
            "rms_norm_eps": 1e-05,
            "rope_theta": 10000.0,
            "sliding_window": None,
            "tie_word_embeddings": False,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "torch_dtype": "bfloat16",
        },
    },
    "qwen2": {
        "seed": 104,
        "tokenizer": qwen2_tokenizer,
        "tokens": 320,
        "dtype": torch.float32,
        "config": COMMON
        | {
            "architectures": ["Qwen2ForCausalLM"],
            "model_type": "qwen2",
            # More rows than the tokenizer has tokens, as in the real ones.
            "vocab_size": 336,
            "hidden_size": 128,
            "intermediate_size": 256,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 512,
            "max_window_layers": 2,
            "sliding_window": 512,
            "use_sliding_window": False,
            "rms_norm_eps": 1e-06,
            "rope_theta": 1000000.0,
            "tie_word_embeddings": True,
            "bos_token_id": 317,
            "eos_token_id": 319,
            "torch_dtype": "float32",
        },
    },
    "qwen3": {
        "seed": 105,
        "tokenizer": qwen2_tokenizer,
        "tokens": 320,
        "dtype": torch.float32,
        "shards": 2,
        "config": COMMON
        | {
            "architectures": ["Qwen3ForCausalLM"],
            "model_type": "qwen3",
            "vocab_size": 320,
            "hidden_size": 128,
            "intermediate_size": 256,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 64,
            "attention_bias": False,
            "max_position_embeddings": 512,
            "max_window_layers": 2,
            "layer_types": ["full_attention", "full_attention"],
            "sliding_window": None,
            "use_sliding_window": False,
            "rms_norm_eps": 1e-06,
            # The names that transformers 5 writes: rope_parameters, dtype.
            "rope_parameters": {"rope_theta": 1000000.0, "rope_type": "default"},
            "tie_word_embeddings": False,
            "bos_token_id": 317,
            "eos_token_id": 319,
            "dtype": "float32",
        },
    },
}


def random_weights(config, seed, dtype):
    """Weights in the order of the hub's files, drawn from one generator.

    Projections keep the size of what they are given, so that the logits spread
    over several units; norms and biases are far from their trivial values.
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(shape, scale, offset=0.0):
        return (torch.randn(shape, generator=generator) * scale + offset).to(dtype)

    hidden = config["hidden_size"]
    intermediate = config["intermediate_size"]
    head = config.get("head_dim", hidden // config["num_attention_heads"])
    query = config["num_attention_heads"] * head
    key = config["num_key_value_heads"] * head
    weights = {"model.embed_tokens.weight": normal((config["vocab_size"], hidden), 0.1)}
    for block in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{block}"
        weights[f"{prefix}.input_layernorm.weight"] = normal(hidden, 0.2, 1.0)
        for name, rows, columns in [
            ("self_attn.q_proj", query, hidden),
            ("self_attn.k_proj", key, hidden),
            ("self_attn.v_proj", key, hidden),
            ("self_attn.o_proj", hidden, query),
            ("mlp.gate_proj", intermediate, hidden),
            ("mlp.up_proj", intermediate, hidden),
            ("mlp.down_proj", hidden, intermediate),
        ]:
            weights[f"{prefix}.{name}.weight"] = normal((rows, columns), columns**-0.5)
            if config["model_type"] == "qwen2" and name[-6:] in ("q_proj", "k_proj", "v_proj"):
                weights[f"{prefix}.{name}.bias"] = normal(rows, 0.5)
        if config["model_type"] == "qwen3":
            weights[f"{prefix}.self_attn.q_norm.weight"] = normal(head, 0.3, 1.0)
            weights[f"{prefix}.self_attn.k_norm.weight"] = normal(head, 0.3, 1.0)
        weights[f"{prefix}.post_attention_layernorm.weight"] = normal(hidden, 0.2, 1.0)
    weights["model.norm.weight"] = normal(hidden, 0.2, 1.0)
    if not config["tie_word_embeddings"]:
        weights["lm_head.weight"] = normal((config["vocab_size"], hidden), 0.1)
    return weights


def save_weights(folder, weights, shards):
    metadata = {"format": "pt"}
    if shards == 1:
        save_file(weights, folder / "model.safetensors", metadata)
        return
    size = {name: t.numel() * t.element_size() for name, t in weights.items()}
    share = math.ceil(sum(size.values()) / shards)
    # A file ends where its share of the bytes is reached: inside a block.
    parts, filled = [{}], 0
    for name, tensor in weights.items():
        if filled >= share and len(parts) < shards:
            parts.append({})
            filled = 0
        parts[-1][name] = tensor
        filled += size[name]
    assert len(parts) == shards
    index = {}
    for number, part in enumerate(parts, start=1):
        file = f"model-{number:05}-of-{shards:05}.safetensors"
        save_file(part, folder / file, metadata)
        index |= dict.fromkeys(part, file)
    write_json(
        folder / "model.safetensors.index.json",
        {"metadata": {"total_size": sum(size.values())}, "weight_map": dict(sorted(index.items()))},
    )


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def shortest(values):
    """The shortest decimals that read back as the same f32."""
    return [float(str(v)) for v in np.asarray(values, dtype=np.float32)]


def logits_golden(folder, seed, tokens):
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    generator = np.random.default_rng(seed)
    prompts = []
    for length in PROMPT_LENGTHS:
        ids = generator.integers(0, tokens, size=length).tolist()
        with torch.inference_mode():
            logits = model(torch.tensor([ids]), use_cache=False).logits[0]
        assert logits.std() > 0.5, (folder.name, logits.std())
        prompts.append(
            {
                "tokens": ids,
                "positions": POSITIONS[length],
                "logits": [shortest(logits[p].numpy()) for p in POSITIONS[length]],
            }
        )
    return prompts


def tokenization_golden(folder):
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    auto = transformers.AutoTokenizer.from_pretrained(folder)
    cases = []
    for text in TEXTS:
        plain = tokenizer.encode(text, add_special_tokens=False).ids
        special = tokenizer.encode(text, add_special_tokens=True).ids
        assert plain == auto.encode(text, add_special_tokens=False), (folder.name, text)
        assert special == auto.encode(text, add_special_tokens=True), (folder.name, text)
        cases.append(
            {
                "text": text,
                "ids": plain,
                "ids_with_special": special,
                "decoded": tokenizer.decode(plain, skip_special_tokens=False),
            }
        )
    return cases


def write_golden(path, golden):
    """One prompt position or text per line, so that a change is seen where it is."""
    lines = ["{", f' "made_with": {json.dumps(golden["made_with"])},', ' "prompts": [']
    for number, prompt in enumerate(golden["prompts"]):
        lines.append(f'  {{"tokens": {json.dumps(prompt["tokens"])},')
        lines.append(f'   "positions": {json.dumps(prompt["positions"])},')
        rows = ",\n    ".join(json.dumps(row) for row in prompt["logits"])
        last = number + 1 == len(golden["prompts"])
        lines.append(f'   "logits": [\n    {rows}]}}' + ("" if last else ","))
    cases = ",\n  ".join(json.dumps(case) for case in golden["tokenization"])
    lines += [" ],", f' "tokenization": [\n  {cases}\n ]', "}"]
    text = "\n".join(lines) + "\n"
    assert json.loads(text) == golden
    path.write_text(text)


def make(root, name, recipe):
    folder = root / name
    # What other scripts wrote beside the model stays.
    folder.mkdir(parents=True, exist_ok=True)
    for file in folder.glob("model*.safetensors*"):
        file.unlink()
    config = recipe["config"]
    write_json(folder / "config.json", config)
    settings = recipe["tokenizer"](folder, recipe["tokens"])
    write_json(
        folder / "tokenizer_config.json",
        {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 512}
        | {"clean_up_tokenization_spaces": False}
        | settings,
    )
    weights = random_weights(config, recipe["seed"], recipe["dtype"])
    save_weights(folder, weights, recipe.get("shards", 1))
    for file in folder.glob("model*.safetensors"):
        file.chmod(0o644)  # They are written for their owner alone.
    golden = {
        "made_with": {
            "transformers": transformers.__version__,
            "torch": torch.__version__.split("+")[0],
            "tokenizers": tokenizers.__version__,
        },
        "prompts": logits_golden(folder, recipe["seed"], recipe["tokens"]),
        "tokenization": tokenization_golden(folder),
    }
    write_golden(folder / "golden.json", golden)
    size = sum(file.stat().st_size for file in folder.iterdir())
    print(f"{name}: {size:,} bytes")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("models"))
    parser.add_argument("names", nargs="*", help="only these models")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for name, recipe in MODELS.items():
        if not arguments.names or name in arguments.names:
            make(arguments.out, name, recipe)


if __name__ == "__main__":
    main()
