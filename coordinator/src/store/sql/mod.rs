//! The statements and what their rows mean, once for both databases.
//!
//! This folder is compiled twice, as a part of `sqlite` and of `postgres`, each time for the
//! concrete types of one driver: [`Connection`] and [`Row`] are whichever module it is a part of.
//! What the databases do not say alike is in the `dialect` of each: a few words as macros, which
//! end up in constant texts, and a few functions.
//!
//! What the statements keep to, so that one text serves both:
//!
//! - Parameters are numbered (`$1`).
//! - A flag is a number, 0 or 1, and is compared with 1: SQLite uses the indexes over accepted rows
//!   only where the comparison is worded as theirs is.
//! - A transaction may share the database with those of other coordinators, each statement of it
//!   seeing what was committed before it began (READ COMMITTED). So what is decided by a row is
//!   decided in the statement that changes it, or under a lock that is taken before the row is
//!   read.
//! - Locks are taken in this order: a schedule, searches by number, tasks by number, the device.
//!   SQLite's only writer needs none, and the words for them are empty there.

#[cfg(test)]
mod audit;
mod candidates;
mod claims;
mod confirmations;
mod contract;
mod coordinators;
mod decode;
mod deeds;
pub(super) mod devices;
mod measurements;
mod questions;
mod recording;
mod retimings;
mod reuse;
mod schedules;
mod searches;
mod siblings;
mod standing;
mod tasks;
mod tokens;

use super::super::failure::Failure;
use super::super::*;
use super::{Connection, Driver, Row, ThisStore, dialect};
