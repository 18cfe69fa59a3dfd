//! What makes a genome from nothing or from others, one file per family.
//!
//! All of them compute with integers drawn from the ask's own generator, so a child is the same on
//! every machine. None of them looks whether the child is new.

pub(crate) mod crossover;
pub(crate) mod mutation;
pub(crate) mod sampling;
pub(crate) mod selection;
pub(crate) mod variation;
