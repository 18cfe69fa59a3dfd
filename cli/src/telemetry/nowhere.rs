//! Stands for the export of spans in builds without it.

use super::{Listener, Telemetry};
use crate::problem::Problem;

/// Exports nothing, and says so where it was wanted.
pub(crate) struct Exporting {
    /// The variable that names a collector.
    in_vain: Option<&'static str>,
}

impl Exporting {
    pub(crate) fn start(telemetry: &Telemetry, service: Option<&str>) -> Result<Self, Problem> {
        let named = telemetry.endpoint().filter(|_| service.is_some());
        Ok(Self {
            in_vain: named.map(|(variable, _)| variable),
        })
    }

    pub(crate) fn listener(&self) -> Option<Listener> {
        None
    }

    /// Says what there is to say once there is a log.
    pub(crate) fn begin(&self) {
        if let Some(variable) = self.in_vain {
            tracing::warn!(
                "no span is exported, although {variable} is set: this build of bitfront is \
                 without the feature `otel`"
            );
        }
    }

    pub(crate) fn end(self) {}
}
