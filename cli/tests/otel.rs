//! What is exported of a run as spans, and that nothing hangs on whoever takes them.
#![cfg(feature = "local")]
#![allow(clippy::unwrap_used)]

mod support;

use support::background::{Background, logging, message};

/// A coordinator over a folder of its own, with variables.
fn serve(data: &std::path::Path, variables: &[(&str, &str)]) -> Background {
    let serve = logging(["serve", "--listen=127.0.0.1:0"], data);
    let serve = serve.env("BITFRONT_DATABASE", data.join("bitfront.sqlite"));
    let serve = variables
        .iter()
        .fold(serve, |serve, (name, value)| serve.env(name, value));
    let coordinator = Background::start(serve, data.join("coordinator.log"));
    coordinator.line("listening on ");
    coordinator
}

/// What it says of spans.
fn said(coordinator: &Background) -> Vec<String> {
    let lines = coordinator.lines();
    let said = lines.iter().map(message);
    said.filter(|said| said.contains("span"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn nothing_is_said_where_nobody_wants_spans() {
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "nowhere");
    for off in [
        ("OTEL_SDK_DISABLED", "true"),
        ("OTEL_TRACES_EXPORTER", "none"),
    ] {
        let data = tempfile::tempdir().unwrap();
        let mut coordinator = serve(data.path(), &[endpoint, off]);
        coordinator.stop();
        assert_eq!(said(&coordinator), Vec::<String>::new(), "{off:?}");
    }
}

#[cfg(not(feature = "otel"))]
#[test]
fn a_build_that_cannot_export_says_so_once() {
    let data = tempfile::tempdir().unwrap();
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4317");
    let mut coordinator = serve(data.path(), &[endpoint]);
    coordinator.stop();
    let said = said(&coordinator);
    let [said] = &said[..] else {
        panic!("{said:?}")
    };
    assert!(said.starts_with("no span is exported, although OTEL_EXPORTER_OTLP_ENDPOINT"));
    assert!(said.ends_with("the feature `otel`"), "{said}");
}

#[cfg(feature = "otel")]
mod exporting {
    use std::collections::{BTreeMap, BTreeSet};
    use std::fs;
    use std::net::TcpListener;
    use std::path::Path;
    use std::sync::{Arc, Mutex};
    use std::time::{Duration, Instant};

    use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
        TraceService, TraceServiceServer,
    };
    use opentelemetry_proto::tonic::collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
    };
    use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
    use tokio_stream::wrappers::TcpListenerStream;
    use tonic::{Request, Response, Status};

    use super::support::background::{Background, logging, message};
    use super::support::{bitfront, demo};
    use super::{said, serve};

    /// The spans that there are, with all that may be said of them; in docs/operating.md too.
    const SPANS: [(&str, &str); 8] = [
        (
            "task",
            "agent device search candidate task epoch kind outcome",
        ),
        ("fetch", "what size_bytes"),
        ("measure", ""),
        ("step", "step"),
        ("report", ""),
        ("call", "method code agent device search task epoch"),
        ("ask", "search candidates"),
        ("night", "schedule slot_ms state search"),
    ];

    /// A span as a collector has it.
    #[derive(Debug, Clone)]
    struct Taken {
        service: String,
        name: String,
        trace: Vec<u8>,
        id: Vec<u8>,
        parent: Vec<u8>,
        nanoseconds: u64,
        attributes: BTreeMap<String, String>,
    }

    impl Taken {
        fn says(&self, key: &str) -> &str {
            self.attributes.get(key).map_or("", String::as_str)
        }

        fn is_within(&self, other: &Self) -> bool {
            self.parent == other.id && self.trace == other.trace
        }
    }

    #[derive(Debug, Default)]
    struct Heard {
        spans: Vec<Taken>,
        /// Whatever came, as text, and with which headers.
        raw: String,
        keys: BTreeSet<String>,
    }

    /// Takes spans, and tells what came.
    #[derive(Clone, Default)]
    struct Collector(Arc<Mutex<Heard>>);

    fn said_of(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
        let said = attributes.into_iter().map(|it| {
            let value = match it.value.and_then(|value| value.value) {
                Some(any_value::Value::StringValue(text)) => text,
                Some(any_value::Value::IntValue(number)) => number.to_string(),
                other => panic!("{}: {other:?}", it.key),
            };
            (it.key, value)
        });
        said.collect()
    }

    #[tonic::async_trait]
    impl TraceService for Collector {
        async fn export(
            &self,
            request: Request<ExportTraceServiceRequest>,
        ) -> Result<Response<ExportTraceServiceResponse>, Status> {
            let mut heard = self.0.lock().unwrap();
            if let Some(key) = request.metadata().get("x-team-key") {
                heard.keys.insert(key.to_str().unwrap().to_owned());
            }
            let message = request.into_inner();
            heard.raw += &format!("{message:?}");
            for of_service in message.resource_spans {
                let resource = said_of(of_service.resource.unwrap().attributes);
                assert_eq!(resource["service.version"], env!("CARGO_PKG_VERSION"));
                for span in of_service.scope_spans.into_iter().flat_map(|it| it.spans) {
                    heard.spans.push(Taken {
                        service: resource["service.name"].clone(),
                        name: span.name,
                        trace: span.trace_id,
                        id: span.span_id,
                        parent: span.parent_span_id,
                        nanoseconds: span.end_time_unix_nano - span.start_time_unix_nano,
                        attributes: said_of(span.attributes),
                    });
                }
            }
            Ok(Response::new(ExportTraceServiceResponse::default()))
        }
    }

    impl Collector {
        /// Serves on a runtime; gives back the address.
        fn start(&self, runtime: &tokio::runtime::Runtime) -> String {
            let _within = runtime.enter();
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            listener.set_nonblocking(true).unwrap();
            let address = listener.local_addr().unwrap();
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let server = tonic::transport::Server::builder()
                .add_service(TraceServiceServer::new(self.clone()))
                .serve_with_incoming(TcpListenerStream::new(listener));
            runtime.spawn(server);
            format!("http://{address}")
        }

        fn spans(&self) -> Vec<Taken> {
            self.0.lock().unwrap().spans.clone()
        }
    }

    fn one<'a>(spans: &'a [Taken], what: &str, is_it: impl Fn(&Taken) -> bool) -> &'a Taken {
        let found = spans.iter().find(|span| is_it(span));
        found.unwrap_or_else(|| panic!("no {what} in {spans:#?}"))
    }

    #[cfg(feature = "demo")]
    #[test]
    fn a_task_is_one_trace_from_agent_to_coordinator_without_a_secret() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let collector = Collector::default();
        let endpoint = collector.start(&runtime);
        let data = tempfile::tempdir().unwrap();
        let data = data.path();
        let database = data.join("bitfront.sqlite");
        let add = |role: &str| {
            let run = bitfront(["token", "add", role, "--role", role])
                .in_data_dir(data)
                .env("BITFRONT_DATABASE", &database)
                .finish();
            assert_eq!(run.code, Some(0), "{}", run.stderr);
            run.stdout.trim().to_owned()
        };
        let [submit, agent] = ["submit", "agent"].map(add);
        // Nothing is sent before the end, so that whatever comes is what the end sends.
        let exporting = |arguments: &[&str], home: &Path| {
            logging(arguments, home)
                .env("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)
                .env("OTEL_EXPORTER_OTLP_HEADERS", "x-team-key=of_the_collector")
                .env("OTEL_BSP_SCHEDULE_DELAY", "3600000")
                .env("OTEL_BSP_MAX_QUEUE_SIZE", "100000")
                .env("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "100000")
        };
        let serving = ["serve", "--listen=127.0.0.1:0", "--require-tokens"];
        let serving = exporting(&serving, data).env("BITFRONT_DATABASE", &database);
        let mut coordinator = Background::start(serving, data.join("coordinator.log"));
        let line = coordinator.line("listening on ");
        let url = message(&line).strip_prefix("listening on ").unwrap();

        let (model, text) = (demo().join("model"), demo().join("evaluation.txt"));
        let ask = |arguments: &[&str], token: &str| {
            bitfront(arguments)
                .env("BITFRONT_COORDINATOR", url)
                .env("BITFRONT_TOKEN", token)
                .finish()
        };
        let submitted = ask(
            &[
                "submit",
                model.to_str().unwrap(),
                "--data",
                text.to_str().unwrap(),
                "--evaluations=2",
                "--windows=2",
                "--context=64",
                "--precisions=q8_0,q4_k",
                "--imatrix=none",
            ],
            &submit,
        );
        assert_eq!(submitted.code, Some(0), "{}", submitted.stderr);
        let search = submitted.stdout.trim();
        let measuring = ["agent", "--name", "bench", "--coordinator", url];
        let bench = data.join("bench");
        let measuring = exporting(&measuring, &bench)
            .env("BITFRONT_TOKEN", &agent)
            .env("OTEL_SERVICE_NAME", "boards");
        let mut bench = Background::start(measuring, data.join("bench.log"));
        let watched = ask(&["watch", search], &submit);
        assert_eq!(watched.code, Some(0), "{}", watched.stderr);
        let wrong = "bitfront_read_of_somebody_else";
        assert_ne!(ask(&["searches"], wrong).code, Some(0));

        assert_eq!(
            collector.spans().len(),
            0,
            "nothing was sent before the end"
        );
        bench.stop();
        let of_agent = collector.spans().len();
        assert!(of_agent > 0, "{}", fs::read_to_string(&bench.1).unwrap());
        coordinator.stop();
        let spans = collector.spans();
        assert!(spans.len() > of_agent);

        let ids = |span: &Taken| (span.says("task").to_owned(), span.says("epoch").to_owned());
        // A companion is within the task that it is timed in turns with.
        let is_task = |span: &Taken| span.name == "task" && span.parent.is_empty();
        let is_timing = |span: &Taken| is_task(span) && span.says("kind") == "latency";
        let task = one(&spans, "timing", is_timing);
        assert_eq!(task.service, "boards");
        assert_eq!(task.says("agent"), "bench");
        assert_eq!(task.says("search"), search);
        assert_eq!(task.says("outcome"), "reported");
        let measure = one(&spans, "measure", |span| {
            span.name == "measure" && span.is_within(task)
        });
        assert!(measure.nanoseconds > 0 && measure.nanoseconds <= task.nanoseconds);
        let is_report = |span: &Taken| span.name == "report" && span.is_within(task);
        let report = one(&spans, "report", is_report);
        let called = "bitfront.v1.Agents/Report";
        let call = one(&spans, "call", |span| {
            span.name == called && span.is_within(report)
        });
        assert_eq!(call.service, "bitfront-coordinator");
        assert_eq!(call.says("method"), "/bitfront.v1.Agents/Report");
        assert_eq!(call.says("code"), "OK");
        assert_eq!(call.says("search"), search);
        assert_eq!(ids(call), ids(task));
        one(&spans, "question", |span| {
            is_task(span) && span.says("kind") == "probe"
        });
        one(&spans, "step", |span| span.name == "step");
        let ask = one(&spans, "ask", |span| span.name == "ask");
        assert_eq!(ask.says("search"), search);
        let submit_call = "bitfront.v1.Searches/Submit";
        let submit_call = one(&spans, "submit", |span| span.name == submit_call);
        assert_eq!(submit_call.says("search"), search);
        let refused = |span: &Taken| span.says("code") == "UNAUTHENTICATED";
        one(&spans, "refused call", refused);

        let documented = include_str!("../../docs/operating.md");
        for span in &spans {
            let kind = match span.says("method") {
                "" => span.name.as_str(),
                _ => "call",
            };
            for often in ["Heartbeat", "Lease", "Watch"] {
                assert!(!span.name.ends_with(&format!("/{often}")), "{span:?}");
            }
            let known = SPANS.iter().find(|(name, _)| *name == kind);
            let (_, known) = known.unwrap_or_else(|| panic!("{span:?}"));
            for key in span.attributes.keys() {
                assert!(known.split(' ').any(|it| it == key), "{key} of {span:?}");
            }
        }
        for (name, known) in SPANS {
            let row = format!("| `{name}` |");
            let row = documented.lines().find(|line| line.starts_with(&row));
            let row = row.unwrap_or_else(|| panic!("{name} is not documented"));
            for key in known.split_whitespace() {
                assert!(row.contains(&format!("`{key}`")), "{key} of {name}");
            }
        }

        let heard = collector.0.lock().unwrap();
        assert_eq!(heard.keys.iter().collect::<Vec<_>>(), ["of_the_collector"]);
        let logs = [&coordinator.1, &bench.1].map(|log| fs::read_to_string(log).unwrap());
        for text in [&heard.raw, &logs[0], &logs[1]] {
            for secret in [&submit, &agent, wrong, "of_the_collector"] {
                assert!(!text.contains(secret), "a secret is told");
            }
        }
        // The log is the same whether or not somebody listens to spans.
        let lines = bench.lines();
        let measuring = lines
            .iter()
            .find(|line| message(line) == "measuring latency");
        assert_eq!(measuring.unwrap()["span"]["agent"], "bench");
        assert!(!logs[0].contains("bitfront_spans") && !logs[1].contains("bitfront_spans"));
    }

    #[test]
    fn a_collector_that_does_not_answer_costs_nothing() {
        let bound = || TcpListener::bind("127.0.0.1:0").unwrap();
        let address = |it: &TcpListener| format!("http://{}", it.local_addr().unwrap());
        let silent = bound();
        let absent = address(&bound());
        for (endpoint, patience) in [
            (absent, "10000"),
            (address(&silent), "200"),
            (address(&silent), "60000"),
        ] {
            let data = tempfile::tempdir().unwrap();
            let mut coordinator = serve(
                data.path(),
                &[
                    ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &endpoint),
                    ("OTEL_EXPORTER_OTLP_TIMEOUT", patience),
                    ("OTEL_BSP_SCHEDULE_DELAY", "50"),
                    ("OTEL_BSP_MAX_QUEUE_SIZE", "2"),
                ],
            );
            let line = coordinator.line("listening on ");
            let url = message(&line).strip_prefix("listening on ").unwrap();
            for _ in 0..6 {
                let asked = Instant::now();
                let run = bitfront(["searches"])
                    .env("BITFRONT_COORDINATOR", url)
                    .finish();
                assert_eq!(run.code, Some(0), "{}", run.stderr);
                assert!(asked.elapsed() < Duration::from_secs(20));
            }
            if patience != "60000" {
                coordinator.line("spans are lost: ");
            }
            let took = coordinator.stop();
            assert!(took < Duration::from_secs(10), "{took:?}");
            let said = said(&coordinator);
            let count = |start: &str| said.iter().filter(|it| it.starts_with(start)).count();
            let expected = if patience == "60000" { (0, 1) } else { (1, 0) };
            let told = (count("spans are lost: "), count("the last spans are lost"));
            assert_eq!(told.0, expected.0, "{said:?}");
            assert!(told.1 >= expected.1, "{said:?}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused_at_start() {
        let of = |name: &'static str, value: &'static str, says: &'static str| {
            let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317");
            ([endpoint, (name, value)], says)
        };
        const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
        let rows = [
            of(
                ENDPOINT,
                "collector:4317",
                "begins with neither http:// nor https://",
            ),
            of(ENDPOINT, "http://", "is no URL"),
            of(ENDPOINT, "http:// host", "is no URL"),
            of(ENDPOINT, "unix:///run/collector", "is no URL"),
            of(ENDPOINT, "http://collector:4318/v1/traces", "has a path"),
            of(ENDPOINT, "http://collector:99999", "names a port"),
            of(
                ENDPOINT,
                "http://me:secret@collector:4317",
                "a user or a password",
            ),
            of(
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
                "nowhere",
                "neither http:// nor",
            ),
            of(
                "OTEL_EXPORTER_OTLP_PROTOCOL",
                "http/protobuf",
                "by grpc alone",
            ),
            of("OTEL_TRACES_EXPORTER", "zipkin", "by otlp alone"),
            of("OTEL_TRACES_SAMPLER", "some", "is not sampled by"),
            of(
                "OTEL_TRACES_SAMPLER",
                "traceidratio",
                "OTEL_TRACES_SAMPLER_ARG",
            ),
            of(
                "OTEL_EXPORTER_OTLP_TIMEOUT",
                "10s",
                "no number of milliseconds",
            ),
            of(
                "OTEL_EXPORTER_OTLP_HEADERS",
                "key=secret,secret",
                "number 2 of its headers",
            ),
        ];
        for (variables, says) in rows {
            // A search that there is not, so that what is not refused ends too.
            let run = variables
                .iter()
                .fold(bitfront(["continue", "9"]), |run, (name, value)| {
                    run.env(name, value)
                })
                .finish();
            let name = variables[1].0;
            assert_eq!(run.code, Some(2), "{variables:?}: {}", run.stderr);
            let first = run.stderr.lines().next().unwrap();
            assert!(first.starts_with(&format!("error: {name}")), "{first}");
            assert!(first.contains(says), "{variables:?}: {first}");
            assert!(!run.stderr.contains("secret"), "{}", run.stderr);
        }
        // A verb that has no spans does not look at it.
        let run = bitfront(["inspect", "nothing"])
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", "nowhere")
            .finish();
        assert_ne!(run.code, Some(2), "{}", run.stderr);
        assert!(!run.stderr.contains("OTEL"), "{}", run.stderr);
    }
}
