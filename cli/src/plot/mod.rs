//! Pictures of a front: for the terminal and for the report.

mod labels;
pub(crate) mod precision_map;
pub(crate) mod scatter;
pub(crate) mod series;
mod style;
pub(crate) mod terminal;
