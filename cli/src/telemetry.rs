//! Whether spans are exported, and where to, by the variables that programs of OpenTelemetry have
//! for it.

#[cfg(feature = "otel")]
mod otlp;
#[cfg(not(feature = "otel"))]
#[path = "telemetry/nowhere.rs"]
mod otlp;

use std::collections::BTreeMap;
use std::fmt;

use tracing_subscriber::{Layer, Registry};

use crate::args::Verb;

pub(crate) use otlp::Exporting;

/// Takes what is logged, or how long something took.
pub(crate) type Listener = Box<dyn Layer<Registry> + Send + Sync>;

/// What the environment says in `OTEL_...`. Some of it is secret, and not shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Telemetry(BTreeMap<String, String>);

impl fmt::Debug for Telemetry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.0.keys()).finish()
    }
}

impl Telemetry {
    /// How the variables begin.
    pub(crate) const PREFIX: &str = "OTEL_";

    /// The variables that are set. OpenTelemetry takes an empty one for one that is not.
    pub(crate) fn new(variables: Vec<(String, String)>) -> Self {
        let said = variables.into_iter();
        Self(said.filter(|(_, value)| !value.trim().is_empty()).collect())
    }

    /// The first of some variables that is set, with what it says.
    fn first<'a>(&self, names: &[&'a str]) -> Option<(&'a str, &str)> {
        let mut set = names
            .iter()
            .filter_map(|&name| Some((name, self.0.get(name)?.trim())));
        set.next()
    }

    /// Where spans are to be sent, with the variable that says so; none where nobody wants them.
    fn endpoint(&self) -> Option<(&'static str, &str)> {
        let says = |name, text: &str| {
            let value = self.0.get(name).map(|value| value.trim());
            value.is_some_and(|value| value.eq_ignore_ascii_case(text))
        };
        if says("OTEL_SDK_DISABLED", "true") || says("OTEL_TRACES_EXPORTER", "none") {
            return None;
        }
        self.first(&[
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            "OTEL_EXPORTER_OTLP_ENDPOINT",
        ])
    }
}

/// What a program that runs a verb is called among those that export; none where nothing runs in it
/// that has spans. A worker has none: they are its agent's.
pub(crate) fn service(verb: &Verb) -> Option<&'static str> {
    match verb {
        #[cfg(feature = "local")]
        Verb::Serve(_) => Some("bitfront-coordinator"),
        #[cfg(feature = "local")]
        Verb::Agent(_) => Some("bitfront-agent"),
        #[cfg(feature = "local")]
        Verb::Run(_) | Verb::Continue(_) => Some("bitfront"),
        #[cfg(feature = "demo")]
        Verb::Demo(_) => Some("bitfront"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_about_spans_counts_more_than_the_one_about_everything() {
        const ALL: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://all:4317");
        const SPANS: (&str, &str) = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", " http://spans:4317 ");
        let off = ("OTEL_SDK_DISABLED", "TRUE");
        let on = ("OTEL_SDK_DISABLED", "false");
        let none = ("OTEL_TRACES_EXPORTER", "none");
        let empty = ("OTEL_EXPORTER_OTLP_ENDPOINT", "");
        let rows = [
            (vec![], None),
            (vec![ALL], Some("http://all:4317")),
            (vec![ALL, SPANS], Some("http://spans:4317")),
            (vec![empty], None),
            (vec![ALL, off], None),
            (vec![ALL, on], Some("http://all:4317")),
            (vec![ALL, none], None),
        ];
        for (variables, expected) in rows {
            let said = variables.iter();
            let said = said.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            let telemetry = Telemetry::new(said.collect());
            let told = telemetry.endpoint().map(|(_, endpoint)| endpoint);
            assert_eq!(told, expected, "{variables:?}");
        }
    }
}
