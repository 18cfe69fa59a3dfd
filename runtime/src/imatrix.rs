//! Activation statistics: which input columns of a layer matter.

use std::collections::BTreeMap;

use bitfront_model::ModelSpec;

use crate::RuntimeError;
use crate::candle::{Decoder, Matrices};
use crate::imatrix_file::{Imatrix, ImatrixEntry};

/// Collects the mean of squared activations per input column of every layer that is multiplied,
/// over all positions of `windows`, as llama.cpp's `llama-imatrix --process-output`.
///
/// `matrices` are the unquantized weights. A layer that is only looked up has no entry; where the
/// output is tied to the embedding, the entry is that of the output.
pub fn collect(
    decoder: &Decoder,
    matrices: &Matrices,
    spec: &ModelSpec,
    windows: &[Vec<u32>],
    batch: usize,
) -> Result<Imatrix, RuntimeError> {
    let mut sums = spec
        .layers
        .iter()
        .map(|layer| vec![0.0f64; layer.columns as usize])
        .collect::<Vec<_>>();
    let mut counts = vec![0u64; spec.layers.len()];
    for windows in windows.chunks(batch.max(1)) {
        let tokens = windows.concat();
        let context = windows.first().map_or(0, Vec::len);
        let mut cache = decoder.cache(windows.len(), context);
        decoder.observe(matrices, &tokens, &mut cache, &mut |layer, activations| {
            let sums = &mut sums[layer];
            for row in activations.chunks_exact(sums.len()) {
                for (sum, value) in sums.iter_mut().zip(row) {
                    *sum += f64::from(value * value);
                }
                counts[layer] += 1;
            }
        })?;
    }
    let mut entries = BTreeMap::new();
    for ((layer, sums), &count) in spec.layers.iter().zip(&sums).zip(&counts) {
        if count == 0 {
            continue;
        }
        let mean_squares: Vec<f32> = sums.iter().map(|sum| (sum / count as f64) as f32).collect();
        if !mean_squares.iter().all(|value| value.is_finite()) {
            return Err(RuntimeError::Engine(format!(
                "the activations of layer `{}` are not finite on the calibration text",
                layer.name
            )));
        }
        let entry = ImatrixEntry {
            mean_squares,
            count,
        };
        entries.insert(layer.tensor_name(), entry);
    }
    Ok(Imatrix {
        entries,
        chunk_count: windows.len() as u32,
        chunk_size: windows.first().map_or(0, Vec::len) as u32,
        datasets: Vec::new(),
    })
}
