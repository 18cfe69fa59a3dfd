//! Held against candle: the weights that it turns back into floats, and its kernels.

#![allow(clippy::unwrap_used)]

use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{CpuStorage, CustomOp1 as _, Device, Layout, Tensor};

use super::tiles::{Format, Tiles, Zero};
use super::{BLOCK, OUTPUTS, Rounded, SUMMED, Tiled, Wide};

const DTYPES: [GgmlDType; 6] = [
    GgmlDType::Q2K,
    GgmlDType::Q3K,
    GgmlDType::Q4K,
    GgmlDType::Q5K,
    GgmlDType::Q6K,
    GgmlDType::Q8_0,
];

/// Those that candle has packed kernels for.
const PACKED: [GgmlDType; 3] = [GgmlDType::Q4K, GgmlDType::Q6K, GgmlDType::Q8_0];

/// Largest difference over largest value where candle adds the same numbers in another order.
const BOUND: f32 = 5e-6;

fn wave(length: usize, step: f32) -> Vec<f32> {
    (0..length)
        .map(|i| (i as f32 * step).sin() * (1.0 + (i % 7) as f32))
        .collect()
}

fn weights(dtype: GgmlDType, outputs: usize, columns: usize) -> QTensor {
    let values = wave(outputs * columns, 0.377);
    let values = Tensor::from_vec(values, (outputs, columns), &Device::Cpu).unwrap();
    QTensor::quantize(&values, dtype).unwrap()
}

/// What candle's kernel makes of it.
fn kernel(weights: &QTensor, input: &[f32], columns: usize) -> Vec<f32> {
    let layout = Layout::contiguous((input.len() / columns, columns));
    let storage = CpuStorage::F32(input.to_vec());
    match weights.cpu_fwd(&storage, &layout).unwrap().0 {
        CpuStorage::F32(values) => values,
        _ => panic!("the product is not in f32"),
    }
}

/// What is computed here.
fn product(weights: &QTensor, input: &[f32], columns: usize) -> Vec<f32> {
    let tiled = Tiled::of(weights).unwrap();
    tiled.multiply(&tiled.round(input, columns)).unwrap()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// On every processor: what the tiles hold are the weights, as candle turns them back into floats.
#[test]
fn tiles_hold_the_weights() {
    let (outputs, columns) = (3 * OUTPUTS, 2 * BLOCK);
    for dtype in DTYPES {
        let weights = weights(dtype, outputs, columns);
        let format = Format::of(dtype).unwrap();
        let tiles = Tiles::of(&weights.data().unwrap(), format, columns);
        assert_eq!(tiles.outputs(), outputs);
        let expected = weights.dequantize(&Device::Cpu).unwrap();
        let expected = expected.to_vec2::<f32>().unwrap();
        for (tile, blocks) in tiles.tiles().enumerate() {
            for row in 0..OUTPUTS {
                for column in 0..columns {
                    let (block, at) = (&blocks[column / BLOCK], column % BLOCK);
                    let integer = f32::from(block.integers[at / 4][row][at % 4]);
                    let scale = block.scales[at / format.group as usize][row];
                    let minimum = block.minima[at / format.group as usize][row];
                    let found = match format.zero {
                        Zero::At(zero) => scale * (integer - f32::from(zero)) - minimum,
                        Zero::Minimum => scale * integer - minimum,
                    };
                    let expected = expected[tile * OUTPUTS + row][column];
                    assert_eq!(found, expected, "{dtype:?}, row {row}, column {column}");
                }
            }
        }
    }
}

/// Where the processor has the instructions, and nothing is computed here where it has not.
#[test]
fn products_are_those_of_the_kernels() {
    if Wide::of_this_process().is_none() {
        assert!(Tiled::of(&weights(GgmlDType::Q4K, OUTPUTS, BLOCK)).is_none());
        return;
    }
    for (rows, outputs, columns) in [(1, 16, 256), (7, 48, 512), (77, 32, 768), (200, 16, 256)] {
        let input = wave(rows * columns, 0.731);
        for dtype in DTYPES {
            let weights = weights(dtype, outputs, columns);
            let found = product(&weights, &input, columns);
            let expected = kernel(&weights, &input, columns);
            let shape = format!("{dtype:?}, {rows} × {columns} by {outputs}");
            // Of `q6_k` candle packs nothing for a single row.
            let is_packed = PACKED.contains(&dtype) && (rows > 1 || dtype != GgmlDType::Q6K);
            if is_packed {
                assert_eq!(bits(&found), bits(&expected), "{shape}");
                continue;
            }
            let largest = expected.iter().fold(0.0f32, |m, v| m.max(v.abs()));
            let differences = found.iter().zip(&expected).map(|(a, b)| (a - b).abs());
            let difference = differences.fold(0.0, f32::max);
            assert!(
                difference <= BOUND * largest,
                "{shape}: {}",
                difference / largest
            );
        }
    }
}

/// Zeros, infinities, what is no number, and what is too small to have an inverse.
#[test]
fn unusual_activations_are_rounded_as_the_kernels_do() {
    if Wide::of_this_process().is_none() {
        return;
    }
    let mut rows = vec![wave(BLOCK, 0.3); 9];
    rows[0].fill(0.0);
    rows[1][7] = f32::NAN;
    rows[2][200] = f32::INFINITY;
    rows[3].fill(f32::NAN);
    rows[4].iter_mut().for_each(|value| *value *= 1e-41);
    rows[5].fill(-0.0);
    rows[6][0] = -30.0;
    rows[6][255] = 30.0;
    rows[7][9] = f32::NEG_INFINITY;
    rows[7][10] = f32::NAN;
    for (column, value) in rows[8].iter_mut().enumerate() {
        *value = column as f32 / 2.0 - 64.0 + 0.5;
    }
    let input = rows.concat();
    for dtype in PACKED {
        let weights = weights(dtype, OUTPUTS, BLOCK);
        let found = product(&weights, &input, BLOCK);
        let expected = kernel(&weights, &input, BLOCK);
        for (row, (found, expected)) in found.chunks(16).zip(expected.chunks(16)).enumerate() {
            let is_number = |values: &[f32]| values.iter().map(|v| v.is_nan()).collect::<Vec<_>>();
            assert_eq!(
                is_number(found),
                is_number(expected),
                "{dtype:?}, row {row}"
            );
            if !found[0].is_nan() {
                assert_eq!(bits(found), bits(expected), "{dtype:?}, row {row}");
            }
        }
    }
}

/// Halves, and what is next to them: the largest value is 127, so that numbers change their signs
/// and nothing else.
#[test]
fn rounding_is_that_of_the_library() {
    let Some(wide) = Wide::of_this_process() else {
        return;
    };
    for part in -126..126 {
        let whole = part as f32;
        let mut input = [0.0; BLOCK];
        input[0] = 127.0;
        for (at, near) in [whole, whole + 0.5].into_iter().enumerate() {
            input[3 * at + 1..3 * at + 4].copy_from_slice(&[
                near.next_down(),
                near,
                near.next_up(),
            ]);
        }
        let rounded = Rounded::of(&input, BLOCK, wide);
        let integers = rounded.row(0)[0].integers.as_flattened();
        for (integer, value) in integers.iter().zip(input) {
            assert_eq!(f32::from(*integer), (-value).round(), "{value}");
        }
        let groups = integers.chunks(SUMMED).zip(rounded.row(0)[0].sums);
        for (group, sum) in groups {
            assert_eq!(group.iter().map(|&it| i32::from(it)).sum::<i32>(), sum);
        }
    }
}

#[test]
fn other_shapes_and_precisions_are_left_to_candle() {
    for (dtype, outputs, columns) in [
        (GgmlDType::Q4K, OUTPUTS + 1, BLOCK),
        (GgmlDType::Q8_0, OUTPUTS, BLOCK + 32),
        (GgmlDType::Q4_0, OUTPUTS, BLOCK),
    ] {
        assert!(Tiled::of(&weights(dtype, outputs, columns)).is_none());
    }
    if let Some(tiled) = Tiled::of(&weights(GgmlDType::Q4K, OUTPUTS, BLOCK)) {
        let longer = tiled.round(&[0.0; 2 * BLOCK], 2 * BLOCK);
        let refused = tiled.multiply(&longer).unwrap_err().to_string();
        assert!(
            refused.contains("512") && refused.contains("256"),
            "{refused}"
        );
    }
}
