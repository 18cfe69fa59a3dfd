//! An agent over real TCP, and a model to plan for.

use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use bitfront_agent::{AgentError, Config, CoreChoice, Patience};
use bitfront_model::{
    Anchor, Architecture, Assignment, DataSpec, Digest, HeldBack, ImatrixSource, Layer, LayerKind,
    LeaseToken, Manifest, ModelSource, ModelSpec, Plan, Precision, Report, Subject, TaskKind,
    TaskPurpose,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::fake_coordinator::{FakeCoordinator, State};
use super::scripted::{Answer, ScriptedRuntime};

/// A running agent.
pub struct Agent {
    pub task: JoinHandle<Result<(), AgentError>>,
    pub shutdown: CancellationToken,
}

impl Agent {
    pub fn start(coordinator: &FakeCoordinator, runtime: ScriptedRuntime) -> Self {
        Self::start_with(config(coordinator), runtime)
    }

    pub fn start_with(config: Config, runtime: ScriptedRuntime) -> Self {
        let shutdown = CancellationToken::new();
        let running = bitfront_agent::run(config, runtime.factory(), shutdown.clone());
        Self {
            task: tokio::spawn(running),
            shutdown,
        }
    }

    pub async fn stop(self) -> Result<(), AgentError> {
        self.shutdown.cancel();
        self.end().await
    }

    pub async fn end(self) -> Result<(), AgentError> {
        let in_time = tokio::time::timeout(Duration::from_secs(10), self.task).await;
        in_time.expect("the agent does not end").unwrap()
    }
}

pub fn config(coordinator: &FakeCoordinator) -> Config {
    Config {
        name: Some("bench".to_owned()),
        cores: CoreChoice::Any,
        // Nothing is there to be read, so no timing waits for anything.
        root: "/nowhere".into(),
        patience: patience(),
        ..Config::new(vec![coordinator.url()])
    }
}

pub fn patience() -> Patience {
    let milliseconds = Duration::from_millis;
    Patience {
        start: milliseconds(400),
        lease: milliseconds(200),
        call: milliseconds(2000),
        first_retry: milliseconds(10),
        last_retry: milliseconds(50),
        failure_pause: milliseconds(20),
        shutdown: milliseconds(300),
    }
}

/// The files of a subject, and a model to plan for.
pub struct World {
    pub folder: tempfile::TempDir,
    pub spec: ModelSpec,
}

impl World {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["model.gguf", "evaluation.txt"] {
            std::fs::write(folder.path().join(name), name).unwrap();
        }
        let layer = |name: &str, kind| Layer {
            name: name.to_owned(),
            kind,
            block: None,
            rows: 256,
            columns: 256,
            source: Precision::F16,
            tied: false,
        };
        let spec = ModelSpec {
            name: "tiny".to_owned(),
            architecture: Architecture::Llama,
            blocks: 0,
            hidden_size: 256,
            intermediate_size: 256,
            attention_heads: 1,
            key_value_heads: 1,
            head_size: 256,
            context_length: 64,
            vocabulary_size: 256,
            layers: vec![
                layer("token_embd", LayerKind::TokenEmbedding),
                layer("output", LayerKind::Output),
            ],
            fixed_bytes: 0,
            digest: Digest::of("tiny"),
        };
        Self { folder, spec }
    }

    pub fn subject(&self) -> Subject {
        let path = |name: &str| self.path(name).to_str().unwrap().to_owned();
        Subject {
            model: ModelSource {
                path: path("model.gguf"),
                tokenizer_path: None,
                digest: self.spec.digest,
            },
            data: DataSpec {
                evaluation_path: path("evaluation.txt"),
                calibration_path: None,
                context: 64,
                evaluation_windows: 6,
                calibration_windows: 0,
                evaluation_digest: Digest::of("evaluation"),
                calibration_digest: Digest::of("calibration"),
                held_back: Some(HeldBack {
                    windows: 6,
                    digest: Digest::of("held back"),
                }),
            },
            imatrix: ImatrixSource::None,
            manifest: Manifest::default(),
        }
    }

    pub fn path(&self, name: &str) -> std::path::PathBuf {
        Path::new(self.folder.path()).join(name)
    }

    pub fn assignment(&self, task: i64, kind: TaskKind) -> Assignment {
        Assignment {
            purpose: TaskPurpose::Search,
            token: LeaseToken { task, epoch: 1 },
            search: 1,
            candidate: task,
            kind,
            subject: self.subject(),
            plan: Plan::uniform(&self.spec, Precision::Q4K).unwrap(),
            workloads: match kind {
                TaskKind::Quality => Vec::new(),
                TaskKind::Latency => vec![
                    "prefill@32".parse().unwrap(),
                    "decode@16x8".parse().unwrap(),
                ],
            },
            anchor: (kind == TaskKind::Latency).then(|| Anchor {
                plan: Plan::uniform(&self.spec, Precision::Q8_0).unwrap(),
                times: Vec::new(),
            }),
            rival: None,
            lease_time: Duration::from_secs(30),
        }
    }

    pub fn queue(&self, coordinator: &FakeCoordinator, task: i64, kind: TaskKind) {
        coordinator.queue(&self.assignment(task, kind), &self.spec);
    }
}

pub fn reports(state: &State) -> Vec<Report> {
    let wire = state.reports.iter().cloned();
    wire.map(|report| Report::try_from(report).unwrap())
        .collect()
}

pub fn tasks_reported(state: &State) -> Vec<i64> {
    reports(state)
        .iter()
        .map(|report| report.token.task)
        .collect()
}

/// A runtime that waits for a word before each measurement.
pub fn held_back() -> (ScriptedRuntime, mpsc::Sender<()>) {
    let (go, gate) = mpsc::channel();
    let runtime = ScriptedRuntime::deciding(move |_, _| {
        gate.recv().ok();
        Answer::Figures
    });
    (runtime, go)
}
