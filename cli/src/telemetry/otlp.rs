//! Sends spans to a collector by OTLP over gRPC, with the client that coordinators are called with.
//!
//! What is not read here the crates of OpenTelemetry read themselves, such as `OTEL_SERVICE_NAME`,
//! `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_EXPORTER_OTLP_HEADERS` and `OTEL_BSP_...`. They pass over what
//! they do not understand without a word that anybody hears, so what matters of it is checked here
//! before.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bitfront_model::SPANS;
use bitfront_proto::access::{Access, Identity};
use bitfront_proto::trace::{self, Propagation};
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator as _};
use opentelemetry::trace::{TraceContextExt as _, TracerProvider as _};
use opentelemetry::{Key, KeyValue};
use opentelemetry_otlp::{SpanExporter, WithTonicConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData};
use tonic::codegen::http::{HeaderMap, HeaderName, HeaderValue};
use tonic::transport::{Endpoint, Uri};
use tracing::Span;
use tracing::level_filters::LevelFilter;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::FilterFn;

use super::{Listener, Telemetry};
use crate::problem::Problem;

/// How long the last spans may take to be sent when the program ends.
const LAST_SPANS: Duration = Duration::from_secs(3);

/// How long a connection to the collector may take.
const CONNECT: Duration = Duration::from_secs(5);

/// How long the collector may take for spans by default, as OpenTelemetry has it.
const USUAL_TIMEOUT_MS: u64 = 10_000;

/// Least time between two warnings that spans are lost.
const BETWEEN_WARNINGS: Duration = Duration::from_secs(600);

/// Sends spans to a collector until it ends; nothing where nobody wants them.
pub(crate) struct Exporting(Option<(SdkTracerProvider, Arc<Warned>)>);

impl Exporting {
    /// Understands what the environment says. Nothing is connected to before there are spans, but
    /// the connection lives in the async runtime that this is called in.
    pub(crate) fn start(
        telemetry: &Telemetry,
        service: Option<&'static str>,
    ) -> Result<Self, Problem> {
        let Some((service, (variable, typed))) = service.zip(telemetry.endpoint()) else {
            return Ok(Self(None));
        };
        let url = url(variable, typed)?;
        check(telemetry)?;
        let endpoint = Endpoint::from(url.clone())
            .connect_timeout(CONNECT)
            .timeout(timeout(telemetry)?)
            .tcp_nodelay(true);
        let exporter = SpanExporter::builder()
            .with_tonic()
            .with_channel(access(telemetry).channel(&endpoint))
            .build()
            .map_err(|error| Problem::usage(format!("{variable}: {error}")))?;
        let warned = Arc::<Warned>::default();
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(Watched {
                exporter,
                url,
                warned: Arc::clone(&warned),
            })
            .with_resource(resource(service))
            .build();
        trace::propagate(Propagation { tell, hear });
        Ok(Self(Some((provider, warned))))
    }

    /// Takes the spans, and nothing that is logged.
    pub(crate) fn listener(&self) -> Option<Listener> {
        let (provider, _) = self.0.as_ref()?;
        let tracer = provider.tracer("bitfront");
        let spans = FilterFn::new(|metadata| metadata.is_span() && metadata.target() == SPANS);
        let layer = tracing_opentelemetry::layer()
            .with_tracer(tracer)
            .with_context_activation(false)
            .with_location(false)
            .with_target(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_filter(spans.with_max_level_hint(LevelFilter::INFO));
        Some(layer.boxed())
    }

    /// There is nothing to say.
    pub(crate) fn begin(&self) {}

    /// Sends what there is left, for a moment at the most.
    pub(crate) fn end(self) {
        let Some((provider, warned)) = self.0 else {
            return;
        };
        if let Err(error) = provider.shutdown_with_timeout(LAST_SPANS) {
            // What is still being sent fails with the runtime that ends next: the same loss.
            warned.is_to_warn();
            tracing::warn!("the last spans are lost: {error}");
        }
    }
}

/// The address of a collector.
fn url(variable: &str, typed: &str) -> Result<Uri, Problem> {
    let wrong = |reason: &str| {
        // Whoever writes a password there does not want to read it in a log.
        let shown = match typed.contains('@') {
            true => String::new(),
            false => format!("=`{typed}`"),
        };
        Problem::usage(format!("{variable}{shown} {reason}")).with_hint(
            "the collector is spoken to by gRPC; its address looks like http://host:4317, or over \
             TLS like https://host:4317",
        )
    };
    let url: Uri = typed.parse().map_err(|_| wrong("is no URL"))?;
    if !matches!(url.scheme_str(), Some("http" | "https")) {
        return Err(wrong("begins with neither http:// nor https://"));
    }
    match url.authority() {
        Some(authority) if authority.as_str().contains('@') => {
            return Err(wrong(
                "has a user or a password in it, which belongs in OTEL_EXPORTER_OTLP_HEADERS",
            ));
        }
        Some(authority) if authority.as_str().len() > authority.host().len() => {
            if authority.port_u16().is_none() {
                return Err(wrong("names a port that there is not"));
            }
        }
        Some(_) => {}
        None => return Err(wrong("names no host")),
    }
    match url.path_and_query().map(|path| path.as_str()) {
        None | Some("/" | "") => Ok(url),
        Some(_) => Err(wrong("has a path, which gRPC has not")),
    }
}

/// That what the crates would pass over without a word can be meant.
fn check(telemetry: &Telemetry) -> Result<(), Problem> {
    let protocol = telemetry.first(&[
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
        "OTEL_EXPORTER_OTLP_PROTOCOL",
    ]);
    if let Some((variable, typed)) = protocol.filter(|(_, typed)| *typed != "grpc") {
        return Err(Problem::usage(format!(
            "{variable}=`{typed}` is not spoken here: spans are exported by grpc alone"
        )));
    }
    if let Some((variable, typed)) = telemetry.first(&["OTEL_TRACES_EXPORTER"])
        && typed != "otlp"
    {
        return Err(Problem::usage(format!(
            "{variable}=`{typed}`: spans are exported by otlp alone, or not at all by none"
        )));
    }
    if let Some((variable, typed)) = telemetry.first(&["OTEL_TRACES_SAMPLER"]) {
        let base = typed.strip_prefix("parentbased_").unwrap_or(typed);
        let ratio = telemetry.first(&["OTEL_TRACES_SAMPLER_ARG"]);
        let ratio = ratio.and_then(|(_, typed)| typed.parse::<f64>().ok());
        match base {
            "always_on" | "always_off" => {}
            "traceidratio" if ratio.is_some_and(|ratio| (0.0..=1.0).contains(&ratio)) => {}
            "traceidratio" => {
                return Err(Problem::usage(format!(
                    "{variable}=`{typed}` needs a share from 0 to 1 in OTEL_TRACES_SAMPLER_ARG"
                )));
            }
            _ => {
                return Err(Problem::usage(format!(
                    "{variable}=`{typed}` is not sampled by here; there are always_on, always_off \
                     and traceidratio, and each with parentbased_ before it"
                )));
            }
        }
    }
    let headers = telemetry.first(&[
        "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
        "OTEL_EXPORTER_OTLP_HEADERS",
    ]);
    if let Some((variable, typed)) = headers {
        let is_header = |header: &str| match header.split_once('=') {
            Some((name, value)) => {
                name.trim().parse::<HeaderName>().is_ok()
                    && value.trim().parse::<HeaderValue>().is_ok()
            }
            None => false,
        };
        let mut headers = typed.split_terminator(',');
        if let Some(at) = headers.position(|header| !is_header(header)) {
            return Err(Problem::usage(format!(
                "{variable}: number {} of its headers is not like name=value",
                at + 1
            )));
        }
    }
    Ok(())
}

/// How long the collector may take for spans.
fn timeout(telemetry: &Telemetry) -> Result<Duration, Problem> {
    let told = telemetry.first(&[
        "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
        "OTEL_EXPORTER_OTLP_TIMEOUT",
    ]);
    let Some((variable, typed)) = told else {
        return Ok(Duration::from_millis(USUAL_TIMEOUT_MS));
    };
    match typed.parse() {
        Ok(milliseconds) if milliseconds > 0 => Ok(Duration::from_millis(milliseconds)),
        _ => Err(Problem::usage(format!(
            "{variable}=`{typed}` is no number of milliseconds"
        ))),
    }
}

/// Whom to trust, and what to show, over TLS.
fn access(telemetry: &Telemetry) -> Access {
    let file = |names: &[&str]| telemetry.first(names).map(|(_, file)| file.into());
    let certificate = file(&[
        "OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE",
        "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
    ]);
    let key = file(&[
        "OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY",
        "OTEL_EXPORTER_OTLP_CLIENT_KEY",
    ]);
    Access {
        ca: file(&[
            "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE",
            "OTEL_EXPORTER_OTLP_CERTIFICATE",
        ]),
        identity: certificate
            .zip(key)
            .map(|(certificate, key)| Identity { certificate, key }),
        token: None,
    }
}

/// Who exports: the name that the environment gives it, or else its own.
fn resource(service: &'static str) -> Resource {
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let told = Resource::builder().with_attribute(version.clone()).build();
    let name = told.get(&Key::from_static_str("service.name"));
    match name.is_some_and(|name| !name.as_str().starts_with("unknown_service")) {
        true => told,
        false => Resource::builder()
            .with_attribute(version)
            .with_service_name(service)
            .build(),
    }
}

/// Names the current span, where it is one that is exported, as the W3C has it (`traceparent`).
fn tell(headers: &mut HeaderMap) {
    let context = Span::current().context();
    TraceContextPropagator::new().inject_context(&context, &mut Naming(headers));
}

/// Makes a span a child of the one that is named like that.
fn hear(headers: &HeaderMap, span: &Span) {
    let parent = TraceContextPropagator::new().extract(&Named(headers));
    if parent.span().span_context().is_valid() {
        // A span that is not exported has no parent.
        let _ = span.set_parent(parent);
    }
}

struct Naming<'a>(&'a mut HeaderMap);

impl Injector for Naming<'_> {
    fn set(&mut self, name: &str, value: String) {
        let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse::<HeaderValue>())
        else {
            return;
        };
        self.0.insert(name, value);
    }
}

struct Named<'a>(&'a HeaderMap);

impl Extractor for Named<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

/// When it was said last that spans are lost.
#[derive(Debug, Default)]
struct Warned(Mutex<Option<Instant>>);

impl Warned {
    /// Whether it was not said of late, as it is from now on.
    fn is_to_warn(&self) -> bool {
        let mut warned = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_recent = warned.is_some_and(|at| at.elapsed() < BETWEEN_WARNINGS);
        if !is_recent {
            *warned = Some(Instant::now());
        }
        !is_recent
    }
}

/// An exporter that says when spans are lost, and does not say so all the time.
#[derive(Debug)]
struct Watched {
    exporter: SpanExporter,
    url: Uri,
    warned: Arc<Warned>,
}

impl opentelemetry_sdk::trace::SpanExporter for Watched {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let exported = self.exporter.export(batch).await;
        if let Err(error) = &exported
            && self.warned.is_to_warn()
        {
            let trust = match self.url.scheme_str() {
                Some("https") => "; whom to trust is said by OTEL_EXPORTER_OTLP_CERTIFICATE here",
                _ => "",
            };
            tracing::warn!(
                "spans are lost: {} does not take them: {error}{trust}; this is not said again for \
                 {} minutes",
                self.url,
                BETWEEN_WARNINGS.as_secs() / 60
            );
        }
        exported
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}
