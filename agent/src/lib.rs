//! Leases tasks on a device, measures them and reports.
//!
//! In the order in which an agent goes through them:
//!
//! - [`run`], [`supervise`]: the whole life of an agent, from start to shutdown;
//! - `worker`: who measures, on one thread on which nothing else runs: a process that the agent
//!   supervises ([`work`] is its life), or a thread of the agent's own;
//! - `pinning`: holds it and its engine's threads to the best [`cores`](CoreChoice);
//! - `calm`: waits for others to leave those cores before a timing;
//! - `condition`: what the sensors say before and after it;
//! - [`hardware`]: what this device is, as far as figures depend on it;
//! - `client`: the connection to the coordinator, in words of `bitfront_model`;
//! - `heartbeat`: keeps the lease alive while the worker measures;
//! - `spool`: keeps what was measured on the disk until the coordinator has it;
//! - `delivery`: sends it until it does;
//! - `duty`: the loop that leases, measures, reports;
//! - `weights`: what must be on the device before a task can be measured, found or fetched;
//! - `environment`: what the device was like meanwhile;
//! - `spans`: how long each of these took, for whoever exports it.
//!
//! What an agent promises: it measures one task at a time, a timing in turns with its companions; a
//! measurement that was made is kept on the disk and sent until the coordinator has acknowledged or
//! refused it, under one idempotency key, so that it counts once, by the next agent of the device
//! where this one ends; what is refused is kept aside. A task that this device cannot measure is
//! given back with the reason, and never reported as infeasible, since that is a statement about the
//! plan and not about the device's files; so is one whose worker crashed, which is said with it, since
//! the coordinator gives such a task up sooner.

mod backoff;
mod calm;
mod client;
mod condition;
mod config;
// Elsewhere no thread can be held to a core, so none is chosen.
#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
mod cores;
mod delivery;
mod duty;
mod environment;
mod error;
pub mod hardware;
mod heartbeat;
mod pinning;
mod spans;
mod spool;
mod start;
mod weights;
mod worker;

pub use calm::Calm;
pub use client::Access;
pub use config::{Config, Patience};
pub use cores::{CoreChoice, CoresError};
pub use error::AgentError;
pub use pinning::MEASURING_THREAD;
pub use spool::spool_folder;
pub use start::{run, supervise};
pub use worker::{WorkerProgram, work};
