//! What is typed, and plan files, tampered with.

#![allow(clippy::print_stdout, clippy::unwrap_used)]

use bitfront_model::plan::PlanFile;
use bitfront_model::{Device, FileUrl, Plan, Precision, Selector};
use clap::Parser as _;

use crate::args::{Arguments, Verb};
use crate::selector::Chosen;
use crate::settings::{self, Coordinator, ExportSource, SearchSettings};
use crate::testing;

#[path = "../../fuzz/mod.rs"]
mod tampered;

use tampered::fuzz;

fn text(input: &[u8]) -> String {
    String::from_utf8_lossy(input).into_owned()
}

#[test]
fn fuzz_command_lines() {
    let lines = [
        "submit\nmodel\n--data\ntext\n--evaluations=40\n--max-size=1.2GiB\n--max-latency=5ms\n\
         --min-same-top=97.5%\n--max-kld=0.02\n--precisions=Q4_K,q6_k\n--group=kind",
        "submit\nhf://a/b@c\n--data\ns3://bucket/text\n--imatrix=none\n--stop-stalled=50:0.5\n\
         --stop-within-limits\n--workloads=prefill@32b2,decode@16x8b2\n--device=two\n\
         --device=arch=x86_64,isa=avx512_vnni\n--max-latency=two=8ms\n--max-kld=0.1\n--budget=1h 30m",
        "continue\n3\n--budget=10m\n--evaluations=7",
        "best\n--model\nm\n--fleet\n--max-size=900MiB\n--by=size",
        "compare\n14\n27\n--format=json",
        "serve\n--listen=127.0.0.1:0\n--lease-time=30s\n--take-over-after=5s",
    ];
    let lines = lines.map(|line| line.as_bytes().to_vec());
    fuzz("command line", &lines, |input| {
        let typed = text(input);
        let typed = std::iter::once("bitfront").chain(typed.split('\n'));
        match Arguments::try_parse_from(typed).map(|arguments| arguments.verb) {
            Err(_) => false,
            Ok(Verb::Submit(typed)) => SearchSettings::new(typed).is_ok(),
            Ok(Verb::Continue(typed)) => settings::added_budget(&typed).is_ok(),
            Ok(_) => true,
        }
    });
}

#[test]
fn fuzz_values() {
    let values = [
        "1.2GiB",
        "90s",
        "1h 30m 5ms",
        "arch=x86_64,isa=avx512_vnni,cores=4",
        "http://host:7311",
        "s3://bucket/folder/file.safetensors",
        "plan.json",
        "17",
    ];
    let values = values.map(|value| value.as_bytes().to_vec());
    fuzz("value", &values, |input| {
        let typed = text(input);
        let known: [Device; 0] = [];
        let taken = [
            settings::size("--max-size", &typed).is_ok(),
            settings::duration("--budget", &typed).is_ok(),
            typed.parse::<Selector>().is_ok(),
            Chosen::parse(&typed, &known).is_ok(),
            typed.parse::<FileUrl>().is_ok(),
            Coordinator::new(vec![typed.clone()], None).is_ok(),
            ExportSource::new(&typed).is_ok(),
        ];
        taken.contains(&true)
    });
}

#[test]
fn fuzz_plan_files() {
    let spec = testing::spec();
    let plan = Plan::uniform(&spec, Precision::Q8_0).unwrap();
    let sound = serde_json::to_vec(&plan.to_file(&spec, None)).unwrap();
    fuzz("plan file", &[sound], |input| {
        let text = text(input);
        let head = serde_json::from_str::<PlanFile>(&text).is_ok();
        Plan::from_json(&spec, &text).is_ok() && head
    });
}
