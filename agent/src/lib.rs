//! Leases tasks on a device, measures them and reports.
//!
//! In the order in which an agent goes through them:
//!
//! - [`run`]: the whole life of an agent, from start to shutdown;
//! - `worker`: the one thread that measures; nothing else runs on it;
//! - `pinning`: holds it and its engine's threads to the best [`cores`](CoreChoice);
//! - `calm`: waits for others to leave those cores before a timing;
//! - `condition`: what the sensors say before and after it;
//! - [`hardware`]: what this device is, as far as figures depend on it;
//! - `client`: the connection to the coordinator, in words of `bitfront_model`;
//! - `heartbeat`: keeps the lease alive while the worker measures;
//! - `duty`: the loop that leases, measures, reports;
//! - [`weights`]: what must be on the device before a task can be measured;
//! - `environment`: what the device was like meanwhile.
//!
//! What an agent promises: it measures one task at a time, a timing in turns with its companions; a
//! measurement that was made is sent until the coordinator has acknowledged or refused it, under
//! one idempotency key, so that it counts once; a task that this device cannot measure is given
//! back with the reason, and never reported as infeasible, since that is a statement about the plan
//! and not about the device's files.

mod backoff;
mod calm;
mod client;
mod condition;
mod config;
// Elsewhere no thread can be held to a core, so none is chosen.
#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
mod cores;
mod duty;
mod environment;
mod error;
pub mod hardware;
mod heartbeat;
mod pinning;
mod start;
pub mod weights;
mod worker;

pub use calm::Calm;
pub use config::{Config, Patience};
pub use cores::{CoreChoice, CoresError};
pub use error::AgentError;
pub use pinning::MEASURING_THREAD;
pub use start::run;
