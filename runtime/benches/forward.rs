//! Tokens per second of the raw forward pass, as `llama-bench -p N -n 0` has it: one prompt after
//! another with an empty cache, logits of the last token alone.
//!
//! ```text
//! cargo bench -p bitfront-runtime --bench forward -- [TOKENS] [PRECISION ...]
//! ```
//!
//! Two lines for each uniform plan of the demo model, by candle's kernels, which are what is timed,
//! and by what scoring multiplies with: the median of the passes of two seconds, and the quartiles.
//! The passes of both take turns, so that a machine that drifts slows both down.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

#[path = "../tests/candle/support.rs"]
#[allow(dead_code)]
mod support;

use std::hint::black_box;
use std::time::{Duration, Instant};

use bitfront_model::{ImatrixSource, Plan, Precision};
use bitfront_runtime::Runtime as _;
use bitfront_runtime::candle::{Arithmetic, CandleRuntime, Positions};

const MEASURE: Duration = Duration::from_secs(2);
const WARM_UP: usize = 5;

fn main() {
    let mut tokens = 256;
    let mut precisions = Vec::new();
    for argument in std::env::args().skip(1).filter(|it| it != "--bench") {
        match argument.parse() {
            Ok(number) => tokens = number,
            Err(_) => precisions.push(argument.parse::<Precision>().unwrap()),
        }
    }
    if precisions.is_empty() {
        precisions = Precision::ALL.to_vec();
    }
    let windows = support::Windows {
        context: tokens,
        evaluation: 16,
        calibration: 1,
    };
    let subject = support::subject(&support::demo_model(), &windows, ImatrixSource::None);
    let directory = tempfile::tempdir().unwrap();
    let mut runtime = support::runtime(directory.path());
    runtime.open(&subject, &mut |_| {}).unwrap();
    for precision in precisions {
        row(&mut runtime, precision);
    }
}

fn row(runtime: &mut CandleRuntime, precision: Precision) {
    let plan = Plan::uniform(runtime.spec().unwrap(), precision).unwrap();
    let matrices = runtime.assemble(&plan).unwrap().matrices;
    let opened = runtime.opened().unwrap();
    let (prompts, decoder) = (&opened.windows().evaluation, opened.decoder());
    let mut cache = decoder.cache(1, prompts[0].len());
    let mut pass = |number: usize, arithmetic: Arithmetic| {
        let prompt = &prompts[number % prompts.len()];
        cache.truncate(0);
        let start = Instant::now();
        let logits = decoder.forward(&matrices, prompt, &mut cache, Positions::Last, arithmetic);
        black_box(logits.unwrap());
        prompt.len() as f64 / start.elapsed().as_secs_f64()
    };
    let mut ways = [
        ("kernels", Arithmetic::Kernels, Vec::new()),
        ("scoring", Arithmetic::Scoring, Vec::new()),
    ];
    let begun = Instant::now();
    for number in 0.. {
        for (_, arithmetic, speeds) in &mut ways {
            let speed = pass(number, *arithmetic);
            if number >= WARM_UP {
                speeds.push(speed);
            }
        }
        if number >= WARM_UP + 20 && begun.elapsed() >= 2 * MEASURE {
            break;
        }
    }
    for (name, _, mut speeds) in ways {
        speeds.sort_by(f64::total_cmp);
        let quantile = |share: f64| speeds[((speeds.len() - 1) as f64 * share).round() as usize];
        println!(
            "bitfront    {:5} prompt of {}, {name}: {:8.0} tokens/s [{:.0}, {:.0}]",
            precision.name(),
            prompts[0].len(),
            quantile(0.5),
            quantile(0.25),
            quantile(0.75)
        );
    }
}
