//! The candle runtime: the forward pass against `transformers`, and measuring on the demo model.

#![allow(clippy::unwrap_used)]

mod accelerator;
mod batch;
mod cold_start;
mod golden_logits;
mod measuring;
mod prefixes;
mod race;
mod sensitivity;
mod support;
