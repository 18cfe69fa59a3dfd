//! Why nothing that was measured may be shipped: which limits cannot be kept, alone or together,
//! and how near the nearest plan comes.

use std::fmt;

use crate::{Limits, Objective};

/// A measured plan by the figures that limits are about.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measured {
    /// The candidate.
    pub candidate: i64,
    /// Mean KL divergence in nats.
    pub kld: f64,
    /// Median time of one decode step in nanoseconds.
    pub decode_ns: f64,
    /// Exact bytes of all weights.
    pub size_bytes: u64,
    /// Share of positions at which another token ranks first than under the unquantized model.
    pub mismatch: f64,
}

impl Measured {
    fn figure(&self, limit: Limit) -> f64 {
        match limit.figure {
            Objective::Size => self.size_bytes as f64,
            Objective::Mismatch => self.mismatch,
            Objective::Decode => self.decode_ns,
            // No limit is on a prefill.
            Objective::Kld | Objective::Prefill => self.kld,
        }
    }

    /// By which share of the limit its figure exceeds it; nothing where it keeps it.
    fn excess(&self, limit: Limit) -> f64 {
        (self.figure(limit) / limit.most - 1.0).max(0.0)
    }

    fn keeps(&self, limits: &[Limit]) -> bool {
        limits.iter().all(|&limit| self.excess(limit) == 0.0)
    }
}

/// The greatest value of one figure that may be shipped.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limit {
    /// The figure.
    pub figure: Objective,
    /// Its greatest value: nats, nanoseconds, bytes or a share of positions.
    pub most: f64,
}

impl Limit {
    /// The limits that are set, in a fixed order.
    pub fn all(limits: &Limits) -> Vec<Self> {
        let set = [
            (Objective::Kld, limits.max_kld),
            (
                Objective::Decode,
                limits.max_decode.map(|time| time.as_nanos() as f64),
            ),
            (
                Objective::Size,
                limits.max_size_bytes.map(|bytes| bytes as f64),
            ),
            (Objective::Mismatch, limits.max_mismatch()),
        ];
        set.into_iter()
            .filter_map(|(figure, most)| {
                Some(Self {
                    figure,
                    most: most?,
                })
            })
            .collect()
    }

    /// One figure of a plan, or with a sign before it what it may be at most.
    fn written(self, sign: &str, value: f64) -> String {
        match self.figure {
            Objective::Kld => format!("KLD {sign}{}", short(value)),
            Objective::Decode | Objective::Prefill => {
                format!("decode step {sign}{} ms", short(value / 1e6))
            }
            Objective::Size => format!("size {sign}{value:.0} bytes"),
            Objective::Mismatch => format!("mismatch {sign}{} %", short(value * 100.0)),
        }
    }
}

/// Why no measured plan keeps all of some limits.
#[derive(Debug, Clone, PartialEq)]
pub struct Shortfall {
    /// Plans that were looked at; at least one.
    pub measured: usize,
    /// The smallest sets of limits that no plan keeps, smaller ones first: of a set that is named
    /// every part is kept by some plan.
    pub conflicts: Vec<Conflict>,
    /// The plan that exceeds the limits least, by the sum of the shares.
    pub nearest: Measured,
    /// The limits that it exceeds.
    pub exceeded: Vec<Limit>,
}

/// Limits that no measured plan keeps together, although some plan keeps each part of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Conflict {
    /// The limits; a single one is kept by nothing.
    pub limits: Vec<Limit>,
    /// Of the plans that keep all but the last of them, the one that exceeds that one least.
    pub nearest: Measured,
}

impl Shortfall {
    /// Why none of the plans keeps the limits; none where one does, or where there are no plans.
    pub fn of(limits: &Limits, plans: &[Measured]) -> Option<Self> {
        let limits = Limit::all(limits);
        let excess = |plan: &Measured| limits.iter().map(|&limit| plan.excess(limit)).sum::<f64>();
        let nearest = *plans
            .iter()
            .min_by(|left, right| excess(left).total_cmp(&excess(right)))?;
        let exceeded: Vec<_> = limits
            .iter()
            .copied()
            .filter(|&limit| nearest.excess(limit) > 0.0)
            .collect();
        if exceeded.is_empty() {
            return None;
        }
        Some(Self {
            measured: plans.len(),
            conflicts: conflicts(&limits, plans),
            nearest,
            exceeded,
        })
    }

    /// The figures of the nearest plan that exceed their limits, and by how much.
    pub fn exceeding(&self) -> String {
        let misses = self.exceeded.iter().map(|&limit| {
            format!(
                "{} ({} over)",
                limit.written("", self.nearest.figure(limit)),
                share(self.nearest.excess(limit))
            )
        });
        misses.collect::<Vec<_>>().join(" and ")
    }
}

fn conflicts(limits: &[Limit], plans: &[Measured]) -> Vec<Conflict> {
    let mut found: Vec<(u32, Conflict)> = Vec::new();
    let mut sets: Vec<u32> = (1..1_u32 << limits.len()).collect();
    sets.sort_by_key(|set| (set.count_ones(), *set));
    for set in sets {
        if found.iter().any(|(smaller, _)| set & smaller == *smaller) {
            continue;
        }
        let members: Vec<_> = (0..limits.len())
            .filter(|position| set & (1 << position) != 0)
            .map(|position| limits[position])
            .collect();
        let Some((&last, others)) = members.split_last() else {
            continue;
        };
        let nearest = plans
            .iter()
            .filter(|plan| plan.keeps(others))
            .min_by(|left, right| left.excess(last).total_cmp(&right.excess(last)));
        if let Some(&nearest) = nearest
            && nearest.excess(last) > 0.0
        {
            let limits = members;
            found.push((set, Conflict { limits, nearest }));
        }
    }
    found.into_iter().map(|(_, conflict)| conflict).collect()
}

impl fmt::Display for Shortfall {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "none of {} measured plans keeps ", self.measured)?;
        for (position, conflict) in self.conflicts.iter().enumerate() {
            if position > 0 {
                formatter.write_str(", and none ")?;
            }
            write!(formatter, "{conflict}")?;
        }
        write!(
            formatter,
            "; the nearest to all limits is candidate {} with {}",
            self.nearest.candidate,
            self.exceeding()
        )
    }
}

impl fmt::Display for Conflict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((&last, others)) = self.limits.split_last() else {
            return Ok(());
        };
        for limit in others {
            write!(formatter, "{} and ", limit.written("≤ ", limit.most))?;
        }
        let reached = last.written("", self.nearest.figure(last));
        write!(formatter, "{}", last.written("≤ ", last.most))?;
        if others.is_empty() {
            write!(
                formatter,
                " (the least is {reached}, of candidate {})",
                self.nearest.candidate
            )
        } else {
            write!(
                formatter,
                " together (with the rest kept, the least is {reached}, of candidate {})",
                self.nearest.candidate
            )
        }
    }
}

/// Three significant digits.
fn short(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return value.to_string();
    }
    let decimals = (2 - value.abs().log10().floor() as i32).clamp(0, 12);
    format!("{value:.*}", decimals.unsigned_abs() as usize)
}

fn share(excess: f64) -> String {
    if excess < 0.001 {
        "less than 0.1 %".to_owned()
    } else {
        format!("{:.1} %", excess * 100.0)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn plans() -> Vec<Measured> {
        let row = |candidate, kld, milliseconds: f64, size_bytes| Measured {
            candidate,
            kld,
            decode_ns: milliseconds * 1e6,
            size_bytes,
            mismatch: 10.0 * kld,
        };
        vec![
            row(1, 0.001, 4.0, 8000),
            row(2, 0.01, 3.0, 5000),
            row(3, 0.02, 2.0, 4000),
            row(4, 0.2, 1.0, 2000),
        ]
    }

    fn limits(kld: f64, milliseconds: u64, bytes: u64) -> Limits {
        Limits {
            max_kld: (kld > 0.0).then_some(kld),
            max_decode: (milliseconds > 0).then(|| Duration::from_millis(milliseconds)),
            max_size_bytes: (bytes > 0).then_some(bytes),
            min_same_top: None,
        }
    }

    fn said(limits: &Limits) -> String {
        Shortfall::of(limits, &plans()).unwrap().to_string()
    }

    #[test]
    fn limits_that_a_plan_keeps_fall_short_of_nothing() {
        assert_eq!(Shortfall::of(&limits(0.01, 3, 5000), &plans()), None);
        assert_eq!(Shortfall::of(&Limits::default(), &plans()), None);
        assert_eq!(Shortfall::of(&limits(0.01, 3, 5000), &[]), None);
    }

    #[test]
    fn a_limit_that_nothing_keeps_is_named_alone() {
        assert_eq!(
            said(&limits(0.0008, 0, 9000)),
            "none of 4 measured plans keeps KLD ≤ 0.000800 (the least is KLD 0.00100, of \
             candidate 1); the nearest to all limits is candidate 1 with KLD 0.00100 (25.0 % over)"
        );
    }

    #[test]
    fn a_share_of_tokens_is_told_as_what_is_missing_to_all() {
        let limits = Limits {
            min_same_top: Some(0.995),
            ..Limits::default()
        };
        assert_eq!(
            said(&limits),
            "none of 4 measured plans keeps mismatch ≤ 0.500 % (the least is mismatch 1.00 %, of \
             candidate 1); the nearest to all limits is candidate 1 with mismatch 1.00 % (100.0 % \
             over)"
        );
    }

    #[test]
    fn limits_that_are_kept_apart_and_not_together_are_named_together() {
        assert_eq!(
            said(&limits(0.01, 9, 4800)),
            "none of 4 measured plans keeps KLD ≤ 0.0100 and size ≤ 4800 bytes together (with the \
             rest kept, the least is size 5000 bytes, of candidate 2); the nearest to all limits is \
             candidate 2 with size 5000 bytes (4.2 % over)"
        );
    }

    #[test]
    fn every_smallest_conflict_is_named() {
        let shortfall = Shortfall::of(&limits(0.0005, 2, 1999), &plans()).unwrap();
        let sets: Vec<Vec<_>> = shortfall
            .conflicts
            .iter()
            .map(|conflict| conflict.limits.iter().map(|it| it.figure).collect())
            .collect();
        assert_eq!(sets, [[Objective::Kld], [Objective::Size]]);
        let shortfall = Shortfall::of(&limits(0.01, 2, 4000), &plans()).unwrap();
        assert_eq!(shortfall.conflicts.len(), 2);
        assert!(shortfall.conflicts.iter().all(|one| one.limits.len() == 2));
        // Kept in pairs, and not all three.
        let mut plans = plans();
        plans.push(Measured {
            candidate: 5,
            kld: 0.005,
            decode_ns: 9e6,
            size_bytes: 3000,
            mismatch: 0.05,
        });
        plans.push(Measured {
            candidate: 6,
            kld: 0.005,
            decode_ns: 1e6,
            size_bytes: 9000,
            mismatch: 0.05,
        });
        let shortfall = Shortfall::of(&limits(0.005, 2, 4000), &plans).unwrap();
        assert_eq!(shortfall.conflicts.len(), 1);
        assert_eq!(shortfall.conflicts[0].limits.len(), 3);
    }
}
