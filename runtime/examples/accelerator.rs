//! Holds an accelerator against the processor, and shows how long plans take there.
//!
//! ```text
//! cargo run --release -p bitfront-runtime --features cuda --example accelerator -- cuda:0
//! ```
//!
//! First what the device is. Then a line for every precision: how far the logits of the demo model
//! in that precision are apart on both, as a share of the largest, after a prompt and after a token
//! more, and the divergences of both. Then the median times of a larger model with weights that were
//! drawn, in every precision, with the ratios to `q8_0`: a prompt of 512 tokens, and each of 16
//! tokens after 512 others. The program fails where both sides are farther apart than roundings
//! explain.
//!
//! In place of `cuda:0`, `processor` takes the processor for both, to try this program. Two numbers
//! after it are the width and the blocks of the drawn model, 2048 and 8 otherwise.

#![allow(clippy::print_stdout, clippy::print_stderr, clippy::unwrap_used)]

#[path = "../tests/candle/support.rs"]
#[allow(dead_code)]
mod support;

#[path = "accelerator/drawn.rs"]
mod drawn;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use bitfront_model::{Anchor, ImatrixSource, Plan, Precision, TaskPurpose, Workload};
use bitfront_runtime::candle::{
    AcceleratorDevice, AcceleratorRuntime, Arithmetic, CandleRuntime, Decoder, DeviceDecoder,
    DeviceMatrices, DeviceMatrix, Positions,
};
use bitfront_runtime::ggml_quantize;
use bitfront_runtime::latency::{LatencySettings, measure};
use bitfront_runtime::source::Source as _;
use bitfront_runtime::{CandleSettings, Runtime as _};

use drawn::Drawn;

/// The largest difference of logits that roundings explain, as a share of the largest logit:
/// activations are rounded to 8 bits on both sides, in blocks of another size for some types, and
/// `f16` and `bf16` products are rounded on one of them.
const MOST_APART: f32 = 0.1;

/// The same for `f32`, where both add the same numbers in another order.
const MOST_APART_IN_F32: f32 = 1e-3;

/// Rows of weights that are drawn and quantized; the others repeat them.
const DRAWN_ROWS: usize = 8;

const WINDOWS: support::Windows = support::Windows {
    context: 256,
    evaluation: 16,
    calibration: 60,
};
const WORKLOADS: [Workload; 2] = [
    Workload::Prefill {
        tokens: 512,
        batch: 1,
    },
    Workload::Decode {
        context: 512,
        tokens: 16,
        batch: 1,
    },
];

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let name = arguments.first().map_or("cuda:0", String::as_str);
    let size = |at: usize, usual: usize| {
        arguments
            .get(at)
            .map_or(usual, |number| number.parse().unwrap())
    };
    let found = || match name {
        "processor" => AcceleratorDevice::processor(),
        name => AcceleratorDevice::open(name.parse().unwrap(), Path::new("/")).unwrap(),
    };
    let agrees = agree(found());
    times(&found(), &Drawn::new(size(1, 2048), size(2, 8)));
    match agrees {
        true => ExitCode::SUCCESS,
        false => {
            eprintln!("the accelerator and the processor are farther apart than roundings explain");
            ExitCode::FAILURE
        }
    }
}

/// Prints the device and how far both are apart; false where that is too far.
fn agree(found: AcceleratorDevice) -> bool {
    let directory = tempfile::tempdir().unwrap();
    let model = support::demo_model();
    let subject = support::subject(&model, &WINDOWS, ImatrixSource::Calibration);
    let mut processor = support::opened(directory.path(), &subject);
    let settings = CandleSettings::new(directory.path().to_owned());
    let mut accelerator = AcceleratorRuntime::new(settings, found).unwrap();
    accelerator.open(&subject, &mut |_| {}).unwrap();
    println!("{:#?}\n", accelerator.identity());
    println!(
        "{:6} {:>10} {:>10} | {:>11} {:>11} {:>7} | {:>8} {:>8}",
        "", "prompt", "token", "KLD there", "here", "ratio", "same top", "here"
    );
    let mut agrees = true;
    for precision in Precision::ALL {
        let plan = Plan::uniform(processor.spec().unwrap(), precision).unwrap();
        let apart = apart(&mut processor, &mut accelerator, &plan);
        let there = accelerator.quality(&plan, TaskPurpose::Search, None);
        let (there, here) = (
            there.unwrap().value,
            processor.score(&plan, Arithmetic::Kernels).unwrap().value,
        );
        println!(
            "{:6} {:10.2e} {:10.2e} | {:11.4e} {:11.4e} {:7.3} | {:7.2}% {:7.2}%",
            precision.name(),
            apart[0],
            apart[1],
            there.kld,
            here.kld,
            there.kld / here.kld,
            100.0 * there.same_top_rate,
            100.0 * here.same_top_rate
        );
        let most = match precision {
            Precision::F32 => MOST_APART_IN_F32,
            _ => MOST_APART,
        };
        // What is not a number is no difference that could be explained.
        agrees &= apart.iter().all(|apart| *apart <= most);
    }
    agrees
}

/// The largest difference of the logits after a prompt and after a token more.
fn apart(
    processor: &mut CandleRuntime,
    accelerator: &mut AcceleratorRuntime,
    plan: &Plan,
) -> [f32; 2] {
    let here = processor.assemble(plan).unwrap().matrices;
    let there = accelerator.assemble(plan).unwrap();
    assert_eq!(there.executed, plan.precisions());
    let opened = processor.opened().unwrap();
    let text = opened.windows().evaluation.concat();
    let decoder = opened.decoder();
    let mut cache_here = decoder.cache(1, 201);
    let device_decoder = accelerator.decoder().unwrap();
    let mut cache_there = device_decoder.cache(1, 201).unwrap();
    [&text[..200], &text[200..201]].map(|tokens| {
        let (last, kernels) = (Positions::Last, Arithmetic::Kernels);
        let expected = decoder.forward(&here, tokens, &mut cache_here, last, kernels);
        let found = device_decoder.forward(&there.matrices, tokens, &mut cache_there, last);
        let (expected, found) = (expected.unwrap(), found.unwrap());
        let largest = expected.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        let differences = found.iter().zip(&expected).map(|(f, e)| (f - e).abs());
        differences.fold(0.0, |most: f32, it| if it <= most { most } else { it }) / largest
    })
}

/// Prints how long the drawn model takes in every precision.
fn times(found: &AcceleratorDevice, model: &Drawn) {
    let device = found.device();
    let decoder = Decoder::new(model).unwrap();
    let decoder = DeviceDecoder::new(&decoder, device).unwrap();
    let precisions: Vec<_> = Precision::ALL.to_vec();
    let held: Vec<DeviceMatrices> = precisions
        .iter()
        .map(|&precision| {
            let layers = model.spec().layers.iter();
            let matrices = layers.map(|layer| {
                let (rows, columns) = (layer.rows as usize, layer.columns as usize);
                let drawn = drawn::values(DRAWN_ROWS * columns, layer.rows);
                let bytes = ggml_quantize::quantize(precision, &drawn, columns, None).unwrap();
                let needed = precision.bytes(layer.rows, layer.columns).unwrap() as usize;
                let bytes = bytes.iter().copied().cycle().take(needed).collect();
                let matrix = DeviceMatrix::from_bytes(device, precision, bytes, (rows, columns));
                Arc::new(matrix.unwrap())
            });
            matrices.collect()
        })
        .collect();
    let at = precisions.iter().position(|&it| it == Precision::Q8_0);
    let anchor = Anchor {
        plan: Plan::uniform(model.spec(), Precision::Q8_0).unwrap(),
        times: Vec::new(),
    };
    let text: Vec<u32> = (0..4096).map(|at| at % Drawn::VOCABULARY as u32).collect();
    let candidates: Vec<_> = held.iter().collect();
    let settings = LatencySettings::default();
    let timed = WORKLOADS.map(|workload| {
        let anchored = (&anchor, &held[at.unwrap()]);
        measure(&decoder, anchored, &candidates, workload, &text, &settings).unwrap()
    });
    let parameters: u64 = model
        .spec()
        .layers
        .iter()
        .map(|it| it.rows * it.columns)
        .sum();
    println!(
        "\n{:.0} million weights, {} wide, {} blocks",
        parameters as f64 / 1e6,
        model.spec().hidden_size,
        model.spec().blocks
    );
    println!(
        "{:6} {:>9} | {:>12} {:>7} | {:>12} {:>7}",
        "",
        "MB",
        WORKLOADS[0].to_string(),
        "ratio",
        WORKLOADS[1].to_string(),
        "ratio"
    );
    for (index, precision) in precisions.iter().enumerate() {
        let plan = Plan::uniform(model.spec(), *precision).unwrap();
        let [prefill, decode] = timed.each_ref().map(|latencies| &latencies[index]);
        let ratio = |latency: &bitfront_model::Latency| latency.paired.as_ref().unwrap().ratio;
        println!(
            "{:6} {:9.1} | {:9.1} µs {:7.3} | {:9.1} µs {:7.3}",
            precision.name(),
            plan.size_bytes(model.spec()) as f64 / 1e6,
            prefill.median_ns / 1e3,
            ratio(prefill),
            decode.median_ns / 1e3,
            ratio(decode)
        );
    }
}
