#!/bin/sh
# Writes quantize.csv from llama.cpp's own quantization code.
#
# usage: make_quantize.sh LLAMA_CPP_SOURCE
#
# Made with llama.cpp 0c1e570 (ggml 0.25.3) and gcc 12 on x86-64. As in llama.cpp's own build of
# ggml-base, no instruction set beyond the baseline is named, so that nothing is contracted into
# fused multiply-adds; -ffp-contract=off says so for the other architectures too.
set -eu

llama=${1:?usage: make_quantize.sh LLAMA_CPP_SOURCE}
here=$(cd "$(dirname "$0")" && pwd)
build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT

printf '#define GGML_VERSION "reference"\n#define GGML_COMMIT "reference"\n' \
    > "$build/ggml-version.h"
flags="-O3 -DNDEBUG -D_GNU_SOURCE -ffunction-sections -fdata-sections -ffp-contract=off
       -I$build -I$llama/ggml/include -I$llama/ggml/src"
# shellcheck disable=SC2086 # The flags are words.
{
    cc $flags -c "$here/make_quantize.c" -o "$build/make_quantize.o"
    cc $flags -c "$llama/ggml/src/ggml.c" -o "$build/ggml.o"
    cc $flags -c "$llama/ggml/src/ggml-quants.c" -o "$build/ggml-quants.o"
    c++ $flags -std=c++17 -c "$llama/ggml/src/ggml-threading.cpp" -o "$build/ggml-threading.o"
}
c++ -Wl,--gc-sections "$build"/*.o -lm -lpthread -o "$build/make_quantize"
# llama.cpp says on stderr what it found wrong in the rows that it rejects.
"$build/make_quantize" 2> /dev/null > "$here/quantize.csv"
