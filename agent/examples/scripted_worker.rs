//! A worker for the tests of agents: its figures follow from the plan, and some plans bring it down.
//!
//! It writes its number as a process into the file that is its first argument, a line at every
//! start; with a second argument it says that as the reason why it cannot start.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::io::{self, Write as _};
use std::time::Duration;

use bitfront_model::{Plan, Precision};
use bitfront_runtime::RuntimeError;

#[path = "../tests/support/scripted.rs"]
#[allow(dead_code, unreachable_pub)]
mod scripted;

use scripted::{Answer, ScriptedRuntime};

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    if let Some(path) = arguments.next() {
        let mut options = std::fs::File::options();
        let mut file = options.create(true).append(true).open(path)?;
        writeln!(file, "{}", std::process::id())?;
    }
    let refusal = arguments.next();
    let runtime = move || match refusal {
        Some(reason) => Err(RuntimeError::Engine(reason)),
        None => ScriptedRuntime::deciding(|plan, _| decide(plan)).factory()(),
    };
    bitfront_agent::work(runtime, io::stdin().lock(), io::stdout())
}

fn decide(plan: &Plan) -> Answer {
    match plan.uniform_precision() {
        Some(Precision::Q2K) => {
            eprintln!("an assertion of the kernel failed");
            std::process::abort();
        }
        Some(Precision::Q3K) => loop {
            std::thread::sleep(Duration::from_secs(60));
        },
        Some(Precision::Q5K) => {
            let mut taken = Vec::new();
            loop {
                taken.push(vec![1_u8; 1 << 20]);
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        Some(Precision::Q6K) => Answer::Panics("index 7 of 7".to_owned()),
        _ => Answer::Figures,
    }
}
