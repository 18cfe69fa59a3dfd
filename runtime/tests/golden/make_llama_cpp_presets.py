"""Writes llama_cpp_presets.json: what llama.cpp's presets cost the demo fixture in quality.

The importance matrix is made from 60 chunks of calibration.txt; the divergence
from the unquantized model is measured by `llama-perplexity --kl-divergence`
over chunks of evaluation.txt, whose second halves count. Uniform types are made
with --pure, which also overrides the embedding and the output. The file's metadata
names the importance matrix and its text, so `bytes` depends on where these lie;
`data_bytes` does not.

    python make_llama_cpp_presets.py --llama-cpp BIN_DIR --gguf FILE --fixture DIR --work DIR
"""

import argparse
import json
import re
import subprocess
from pathlib import Path

import gguf

PRESETS = ["Q2_K", "Q3_K_S", "Q3_K_M", "Q4_K_S", "Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0"]
UNIFORM = ["Q2_K", "Q3_K_S", "Q4_K_S", "Q8_0"]
TYPE_OF = {"Q3_K_S": "q3_k", "Q4_K_S": "q4_k"}
CONTEXT = 256
CALIBRATION_CHUNKS = 60
CHUNKS = [80, 400]
NUMBER = r"\s*:\s*(-?[\d.]+)"
FIGURES = {
    "perplexity": r"Mean PPL\(Q\)" + NUMBER + r"\s*±\s*([\d.]+)",
    "perplexity_unquantized": r"Mean PPL\(base\)" + NUMBER + r"\s*±\s*([\d.]+)",
    "mean_kld": r"Mean\s+KLD" + NUMBER + r"\s*±\s*([\d.]+)",
    "maximum_kld": r"Maximum KLD" + NUMBER,
    "kld_99_9_percent": r"99\.9%\s+KLD" + NUMBER,
    "kld_99_percent": r"99\.0%\s+KLD" + NUMBER,
    "median_kld": r"Median\s+KLD" + NUMBER,
    "same_top_percent": r"Same top p" + NUMBER + r"\s*±\s*([\d.]+)",
}


def run(*command):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}")
    return done.stdout + done.stderr


def figures(report):
    found = {}
    for name, pattern in FIGURES.items():
        match = re.search(pattern, report)
        if not match:
            return None
        found[name] = float(match[1])
        if match.lastindex == 2:
            found[name + "_standard_error"] = float(match[2])
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--llama-cpp", type=Path, required=True, help="folder of the binaries")
    parser.add_argument("--gguf", type=Path, required=True, help="the fixture as f32 GGUF")
    parser.add_argument("--fixture", type=Path, required=True, help="for its texts")
    parser.add_argument("--work", type=Path, required=True, help="folder for what is made")
    parser.add_argument("--llama-cpp-version", required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only-imatrix", action="store_true", help="stop after the matrix")
    arguments = parser.parse_args()
    work, tools = arguments.work, arguments.llama_cpp
    work.mkdir(parents=True, exist_ok=True)
    threads = ["-t", arguments.threads, "-c", CONTEXT]
    evaluation = arguments.fixture / "evaluation.txt"

    imatrix = work / "fixture.imatrix.gguf"
    if not imatrix.exists():
        for kind, out in [("gguf", imatrix), ("dat", work / "fixture.imatrix.dat")]:
            run(
                tools / "llama-imatrix", "-m", arguments.gguf,
                "-f", arguments.fixture / "calibration.txt", "--chunks", CALIBRATION_CHUNKS,
                "-o", out, "--output-format", kind, *threads,
            )  # fmt: skip
    if arguments.only_imatrix:
        return

    bases = {}
    for chunks in CHUNKS:
        bases[chunks] = work / f"base-{chunks}.kld"
        if not bases[chunks].exists():
            run(
                tools / "llama-perplexity", "-m", arguments.gguf, "-f", evaluation,
                "--chunks", chunks, "--kl-divergence-base", bases[chunks], *threads,
            )  # fmt: skip

    # What is measured is kept, so that a run that was stopped goes on.
    results = work / "results.json"
    kept = json.loads(results.read_text()) if results.exists() else {}

    def measure(name, pure):
        key = f"{name} pure" if pure else name
        if key in kept:
            return kept[key]
        quantized = work / "quantized.gguf"
        options = ["--imatrix", imatrix] + (["--pure"] if pure else [])
        run(tools / "llama-quantize", *options, arguments.gguf, quantized, name, arguments.threads)
        result = {
            "bytes": quantized.stat().st_size,
            "data_bytes": quantized.stat().st_size - gguf.GGUFReader(quantized).data_offset,
        }
        for chunks in CHUNKS:
            found = None
            # Now and then llama-perplexity exits before its log is written out.
            for _ in range(5):
                report = run(
                    tools / "llama-perplexity", "-m", quantized, "-f", evaluation,
                    "--chunks", chunks, "--kl-divergence-base", bases[chunks],
                    "--kl-divergence", *threads,
                )  # fmt: skip
                found = figures(report)
                if found:
                    break
            if not found:
                raise SystemExit(f"llama-perplexity never gave its figures:\n{report}")
            result[f"chunks_{chunks}"] = found
        quantized.unlink()
        kept[key] = result
        results.write_text(json.dumps(kept))
        print(key, json.dumps(result), flush=True)
        return result

    document = {
        "llama_cpp": arguments.llama_cpp_version,
        "context": CONTEXT,
        "calibration_chunks": CALIBRATION_CHUNKS,
        "presets": {name: measure(name, pure=False) for name in PRESETS},
        "uniform": {
            TYPE_OF.get(name, name.lower()): measure(name, pure=True) for name in UNIFORM
        },
    }
    text = json.dumps(document, indent=1)
    Path(__file__).with_name("llama_cpp_presets.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
