"""Writes down how llama.cpp cuts one awkward text under each pre-tokenizer's name.

pre_tokenizers.json holds, for every name, the ids that `llama-tokenize` gives
for the text with the demo model's vocabulary. The model is any GGUF file of the
demo model; llama.cpp's own script writes copies with other names.

    python make_pre_tokenizers.py --llama-cpp-source DIR --llama-tokenize PROGRAM --model DEMO.gguf
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from make_models import TEXTS

NAMES = [
    "llama-bpe",
    "smaug-bpe",
    "glm4",
    "gpt-2",
    "qwen2",
    "qwen35",
    "starcoder",
    "tekken",
    "gpt-4o",
    "deepseek-coder",
    "deepseek-v3",
    "falcon",
    "default",
    "poro-chat",
    "viking",
    "seed-coder",
    "minicpm5",
]

MORE = """
    /// The `u32::from_str_radix(src: &str, radix: u32) -> Result<u32, _>` form, see [`Self`].
    pub const fn is_power_of_two(self) -> bool { self.count_ones() == 1_000_000 }

中文工作1314天 हिन्दी ก็ตาม 한국어 문장 ひらがな カタカナ ÉÀ camelCaseHTTPServer don't WE'LL it'S
:: $$ <=> ^^~~|| a.b,c!d? (x) …。 12345 1,234,567 /path/to\t\tz\r\n\r\n   end
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--llama-cpp-source", type=Path, required=True)
    parser.add_argument("--llama-tokenize", required=True)
    parser.add_argument("--model", type=Path, required=True)
    arguments = parser.parse_args()
    text = "\n".join(t for t in TEXTS if "\x00" not in t) + MORE
    environment = os.environ | {"PYTHONPATH": str(arguments.llama_cpp_source / "gguf-py")}
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        text_file, model = Path(folder, "text.txt"), Path(folder, "model.gguf")
        text_file.write_bytes(text.encode())
        for name in NAMES:
            rename = [sys.executable, "-m", "gguf.scripts.gguf_new_metadata", "--force"]
            rename += ["--pre-tokenizer", name, arguments.model, model]
            subprocess.run(rename, env=environment, check=True, stderr=subprocess.DEVNULL)
            command = [arguments.llama_tokenize, "--model", model, "--file", text_file]
            command += ["--ids", "--no-bos", "--no-parse-special", "--no-escape", "--log-disable"]
            output = subprocess.run(command, capture_output=True, check=True).stdout
            rows[name] = json.loads(output.decode().strip().splitlines()[-1])
    ids = ",\n  ".join(f"{json.dumps(name)}: {json.dumps(row)}" for name, row in rows.items())
    path = Path(__file__).with_name("pre_tokenizers.json")
    path.write_text(f'{{\n "text": {json.dumps(text)},\n "ids": {{\n  {ids}\n }}\n}}\n')


if __name__ == "__main__":
    main()
