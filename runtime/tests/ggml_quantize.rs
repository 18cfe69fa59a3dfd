//! Our quantizers against llama.cpp's own code.
//!
//! `golden/quantize/quantize.csv` holds digests of what llama.cpp made of generated weights (see
//! `make_quantize.c` beside it); the same weights are generated here.

#![allow(clippy::unwrap_used)]

mod dequantized;

use bitfront_model::Precision;
use bitfront_runtime::ggml_quantize::{QuantizeError, quantize};
use dequantized::dequantize;

const ROWS: usize = 16;
const COLUMNS: usize = 512;

const WEIGHTS: [&str; 13] = [
    "bell",
    "heavy_tails",
    "outliers",
    "sparse",
    "constant",
    "positive",
    "negative",
    "grid",
    "tiny",
    "huge",
    "bf16",
    "lonely",
    "overflowing",
];

/// A matrix of weights and an imatrix for its columns.
struct Case {
    weights: Vec<f32>,
    importance: Option<Vec<f32>>,
}

/// Generates what `make_quantize.c` generates for the case of these names.
fn case(weights: &str, importance: &str, columns: usize) -> Case {
    let kind = WEIGHTS.iter().position(|name| *name == weights).unwrap();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 + kind as u64;
    let weights = (0..ROWS * columns)
        .map(|index| weight(weights, index / columns, index % columns, bell(&mut state)))
        .collect();
    let entries = (0..columns)
        .map(|column| entry(importance, column, bell(&mut state)))
        .collect();
    Case {
        weights,
        importance: (importance != "none").then_some(entries),
    }
}

fn draw(state: &mut u64) -> u64 {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    state.wrapping_mul(2_685_821_657_736_338_717)
}

fn bell(state: &mut u64) -> f32 {
    let mut sum = 0_i32;
    for _ in 0..2 {
        let bits = draw(state);
        sum += (0..64)
            .step_by(16)
            .map(|shift| (bits >> shift & 0xffff) as i32)
            .sum::<i32>();
    }
    (2 * sum - 8 * 65535) as f32 / 131_072.0
}

fn weight(kind: &str, row: usize, column: usize, b: f32) -> f32 {
    let tiny = [1e-4_f32, 1e-6, 1e-8, 1e-12, 1e-16, 1e-20, 1e-30, 1e-40];
    match kind {
        "bell" => b * 0.02,
        "heavy_tails" => b * b * b * 0.02,
        "outliers" if column % 97 == row => b * 5.0,
        "outliers" => b * 0.02,
        "sparse" if row.is_multiple_of(5) || (column / 32).is_multiple_of(3) => 0.0,
        "sparse" if column.is_multiple_of(7) => b,
        "sparse" => -0.0,
        "constant" => [0.37, -0.37, 1e-3, -5.0][(row + column / 128) % 4],
        "positive" => b.abs() * 0.02 + 0.01,
        "negative" => -b.abs() * 0.02 - 0.01,
        "grid" => (b * 8.0) as i32 as f32 * 0.125,
        "tiny" => b * tiny[row % 8],
        "huge" => b * [10.0, 100.0, 1000.0, 10000.0][row % 4],
        "bf16" => f32::from_bits((b * 0.02).to_bits() & 0xffff_0000),
        "lonely" if column % 256 == row * 16 => b,
        "lonely" => 0.0,
        "overflowing" => b * 1e8,
        other => panic!("no weights are called {other}"),
    }
}

fn entry(kind: &str, column: usize, b: f32) -> f32 {
    match kind {
        "squares" => b * b,
        "skewed" if column.is_multiple_of(5) => 0.0,
        "skewed" => b * b * b * b * if column.is_multiple_of(11) { 1e4 } else { 1e-4 },
        _ => 0.0,
    }
}

/// FNV-1a.
fn digest(bytes: &[u8]) -> String {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    });
    format!("{hash:016x}")
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn bytes_are_those_of_llama_cpp() {
    let mut wrong = Vec::new();
    let mut compared = 0;
    for line in include_str!("golden/quantize/quantize.csv").lines().skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        let &[name, columns, weights, importance, expected, first_row] = fields.as_slice() else {
            panic!("six fields in {line}");
        };
        let precision: Precision = name.parse().unwrap();
        let columns = columns.parse().unwrap();
        let case = case(weights, importance, columns);
        let label = format!("{name} of {weights} × {columns}, importance {importance}");
        match quantize(
            precision,
            &case.weights,
            columns,
            case.importance.as_deref(),
        ) {
            Ok(bytes) if digest(&bytes) == expected => {}
            Ok(bytes) => {
                let ours = hexadecimal(&bytes[..bytes.len() / ROWS]);
                let same = ours
                    .chars()
                    .zip(first_row.chars())
                    .take_while(|(a, b)| a == b);
                wrong.push(format!(
                    "{label}: first row differs at byte {}",
                    same.count() / 2
                ));
            }
            Err(QuantizeError::ScaleOverflow { .. }) if expected == "rejected" => {}
            Err(error) => wrong.push(format!("{label}: {error}")),
        }
        compared += 1;
    }
    assert!(compared > 900, "only {compared} cases");
    assert!(
        wrong.is_empty(),
        "{} of {compared} differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// `√(Σ w·error² / Σ w·weight²)`, with equal `w` where there is no imatrix.
fn relative_error(case: &Case, entries: Option<&[f32]>, values: &[f32]) -> f64 {
    let (mut error, mut norm) = (0.0, 0.0);
    for (index, (weight, value)) in case.weights.iter().zip(values).enumerate() {
        let w = entries.map_or(1.0, |entries| f64::from(entries[index % COLUMNS]));
        error += w * f64::from(weight - value).powi(2);
        norm += w * f64::from(*weight).powi(2);
    }
    (error / norm).sqrt()
}

#[test]
fn errors_stay_within_each_precisions_bound() {
    // The bound is for bell-shaped weights without an imatrix. With one, the error that it weighs
    // must fall by at least the last column's factor.
    let bounds = [
        (Precision::F32, 0.0, 1.0),
        (Precision::F16, 0.0003, 1.0),
        (Precision::Bf16, 0.002, 1.0),
        (Precision::Q8_0, 0.006, 1.0),
        (Precision::Q6K, 0.02, 1.0),
        (Precision::Q5_1, 0.04, 0.95),
        (Precision::Q5_0, 0.05, 0.95),
        (Precision::Q5K, 0.04, 0.95),
        (Precision::Q4_1, 0.08, 0.95),
        (Precision::Q4_0, 0.09, 0.95),
        (Precision::Q4K, 0.07, 0.95),
        (Precision::Q3K, 0.16, 0.95),
        (Precision::Q2K, 0.29, 0.95),
    ];
    let mut wrong = Vec::new();
    let case = case("bell", "squares", COLUMNS);
    let entries = case.importance.as_deref();
    for (precision, bound, factor) in bounds {
        let values = |importance| {
            let bytes = quantize(precision, &case.weights, COLUMNS, importance).unwrap();
            dequantize(precision, &bytes, (ROWS, COLUMNS))
        };
        let (plain, weighted) = (values(None), values(entries));
        let error = relative_error(&case, None, &plain);
        if error > bound || error < 0.6 * bound {
            wrong.push(format!("{precision}: {error:.5} is not near below {bound}"));
        }
        let without = relative_error(&case, entries, &plain);
        let with = relative_error(&case, entries, &weighted);
        if with > factor * without {
            wrong.push(format!(
                "{precision}: {with:.5} with, {without:.5} without imatrix"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn bad_numbers_are_refused_with_their_place() {
    use Precision::{F16, F32, Q4_0, Q4K};
    let zeros = vec![0.0; 1024];
    let with = |index: usize, value: f32| {
        let mut values = zeros.clone();
        values[index] = value;
        values
    };
    let nan = [&[0.0; 7][..], &[f32::NAN], &[0.0; 248]].concat();
    let negative = [&[-1.0][..], &[0.0; 255]].concat();
    let short = vec![0.0; 255];
    type Case<'a> = (&'a str, Precision, Vec<f32>, usize, Option<&'a [f32]>);
    let cases: [Case; 10] = [
        (
            "not a whole number of q4_k blocks of 256",
            Q4K,
            zeros.clone(),
            128,
            None,
        ),
        ("rows of 0 weights", F32, zeros.clone(), 0, None),
        (
            "1024 weights are not a whole number of rows of 768",
            Q4K,
            zeros.clone(),
            768,
            None,
        ),
        (
            "row 2, column 5 is NaN",
            Q4K,
            with(517, f32::NAN),
            256,
            None,
        ),
        (
            "row 3, column 255 is -inf",
            F32,
            with(1023, f32::NEG_INFINITY),
            256,
            None,
        ),
        (
            "row 1 from column 32 on are too large for q4_0",
            Q4_0,
            with(300, 1e7),
            256,
            None,
        ),
        (
            "row 0 from column 3 on are too large for f16",
            F16,
            with(3, 65520.0),
            256,
            None,
        ),
        (
            "255 entries for rows of 256",
            Q4K,
            zeros.clone(),
            256,
            Some(&short),
        ),
        ("entry 7 is NaN", Q4K, zeros.clone(), 256, Some(&nan)),
        ("entry 0 is -1", Q4K, zeros.clone(), 256, Some(&negative)),
    ];
    let mut wrong = Vec::new();
    for (expected, precision, values, columns, importance) in cases {
        match quantize(precision, &values, columns, importance) {
            Err(error) if error.to_string().contains(expected) => {}
            other => wrong.push(format!("{expected}: {other:?}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_rows_give_no_bytes() {
    assert_eq!(quantize(Precision::Q4K, &[], 256, None), Ok(Vec::new()));
}
