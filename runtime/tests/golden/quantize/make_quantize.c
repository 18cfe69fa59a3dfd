// Quantizes generated weights with llama.cpp's own code and prints what it wrote.
//
// make_quantize.sh builds and runs this; tests/ggml_quantize.rs generates the same weights and
// compares. Every number comes from integers and single roundings, so that both agree exactly.

#include "ggml.h"
#include "ggml-quants.h"

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 16, COLUMNS = 512 };

// Rows of an odd number of blocks, where a type has small ones.
enum { FEW_COLUMNS = 160 };

struct named_type {
    enum ggml_type type;
    const char * name;
};

static const struct named_type types[] = {
    { GGML_TYPE_F32,  "f32"  }, { GGML_TYPE_F16,  "f16"  }, { GGML_TYPE_BF16, "bf16" },
    { GGML_TYPE_Q8_0, "q8_0" }, { GGML_TYPE_Q6_K, "q6_k" }, { GGML_TYPE_Q5_1, "q5_1" },
    { GGML_TYPE_Q5_0, "q5_0" }, { GGML_TYPE_Q5_K, "q5_k" }, { GGML_TYPE_Q4_1, "q4_1" },
    { GGML_TYPE_Q4_0, "q4_0" }, { GGML_TYPE_Q4_K, "q4_k" }, { GGML_TYPE_Q3_K, "q3_k" },
    { GGML_TYPE_Q2_K, "q2_k" },
};

static const char * weight_cases[] = {
    "bell", "heavy_tails", "outliers", "sparse", "constant", "positive", "negative", "grid",
    "tiny", "huge", "bf16", "lonely", "overflowing",
};

static const char * importance_cases[] = { "none", "squares", "skewed", "zero" };

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

// xorshift64*
static uint64_t draw(uint64_t * state) {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * UINT64_C(2685821657736338717);
}

// Sum of eight 16-bit uniforms, centred: bell-shaped in -4..4 with deviation 0.816, exact in f32.
static float bell(uint64_t * state) {
    int32_t sum = 0;
    for (int part = 0; part < 2; ++part) {
        const uint64_t bits = draw(state);
        for (int shift = 0; shift < 64; shift += 16) {
            sum += (int32_t) ((bits >> shift) & 0xffff);
        }
    }
    return (float) (2 * sum - 8 * 65535) / 131072.0f;
}

static float without_low_bits(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    bits &= 0xffff0000u;
    memcpy(&value, &bits, sizeof(bits));
    return value;
}

static float weight(int kind, int row, int column, float b) {
    static const float tiny[] = { 1e-4f, 1e-6f, 1e-8f, 1e-12f, 1e-16f, 1e-20f, 1e-30f, 1e-40f };
    static const float huge[] = { 10.0f, 100.0f, 1000.0f, 10000.0f };
    static const float constant[] = { 0.37f, -0.37f, 1e-3f, -5.0f };
    switch (kind) {
        case 0: return b * 0.02f;
        case 1: return b * b * b * 0.02f;
        case 2: return column % 97 == row ? b * 5.0f : b * 0.02f;
        case 3: return row % 5 == 0 || column / 32 % 3 == 0 ? 0.0f : column % 7 == 0 ? b : -0.0f;
        case 4: return constant[(row + column / 128) % 4];
        case 5: return (b < 0.0f ? -b : b) * 0.02f + 0.01f;
        case 6: return (b < 0.0f ? b : -b) * 0.02f - 0.01f;
        case 7: return (float) (int) (b * 8.0f) * 0.125f;
        case 8: return b * tiny[row % 8];
        case 9: return b * huge[row % 4];
        case 10: return without_low_bits(b * 0.02f);
        case 11: return column % 256 == row * 16 ? b : 0.0f;
        default: return b * 1e8f;
    }
}

static float importance(int kind, int column, float b) {
    switch (kind) {
        case 1: return b * b;
        case 2: return column % 5 == 0 ? 0.0f : b * b * b * b * (column % 11 == 0 ? 1e4f : 1e-4f);
        default: return 0.0f;
    }
}

// FNV-1a
static uint64_t digest(const uint8_t * bytes, size_t count) {
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < count; ++i) {
        hash = (hash ^ bytes[i]) * UINT64_C(0x100000001b3);
    }
    return hash;
}

static void print_case(struct named_type type, int w, int m, int columns) {
    static float weights[ROWS * COLUMNS];
    static float importances[COLUMNS];
    static uint8_t bytes[ROWS * COLUMNS * sizeof(float)];

    uint64_t state = UINT64_C(0x9e3779b97f4a7c15) + w;
    for (int i = 0; i < ROWS * columns; ++i) {
        weights[i] = weight(w, i / columns, i % columns, bell(&state));
    }
    for (int i = 0; i < columns; ++i) {
        importances[i] = importance(m, i, bell(&state));
    }
    const size_t size = ggml_quantize_chunk(type.type, weights, bytes, 0, ROWS, columns,
                                            m == 0 ? NULL : importances);
    printf("%s,%d,%s,%s,", type.name, columns, weight_cases[w], importance_cases[m]);
    if (!ggml_validate_row_data(type.type, bytes, size)) {
        printf("rejected,\n");
        return;
    }
    printf("%016" PRIx64 ",", digest(bytes, size));
    // One row in full tells where a difference begins.
    if (w == 0 && m < 2 && columns == COLUMNS && ggml_is_quantized(type.type)) {
        for (size_t i = 0; i < size / ROWS; ++i) {
            printf("%02x", bytes[i]);
        }
    }
    printf("\n");
}

int main(void) {
    printf("precision,columns,weights,importance,digest,first_row\n");
    for (size_t t = 0; t < COUNT(types); ++t) {
        for (int w = 0; w < (int) COUNT(weight_cases); ++w) {
            for (int m = 0; m < (int) COUNT(importance_cases); ++m) {
                print_case(types[t], w, m, COLUMNS);
                if (FEW_COLUMNS % ggml_blck_size(types[t].type) == 0) {
                    print_case(types[t], w, m, FEW_COLUMNS);
                }
            }
        }
    }
    return 0;
}
