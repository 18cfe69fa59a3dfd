//! What a front shows once its figures are known to be noisy.

use std::cmp::Ordering;

/// Where a point stands with respect to a tolerant front.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// It is shown.
    Shown,
    /// It cannot be told apart from a shown point in any measured objective, and that one is shown
    /// for both.
    SameAs(usize),
    /// A shown point is better beyond the noise in a measured objective, and worse in none.
    BeatenBy(usize),
}

/// Points with noisy figures that can be compared two at a time.
pub struct Tolerant<Compare, Order> {
    /// Number of points; they are named by their positions.
    pub points: usize,
    /// One entry an objective: true where it is measured, false where it is known exactly.
    pub measured: Vec<bool>,
    /// A point against another in an objective, by its position: `Less` where it is better beyond
    /// the noise, `Greater` where it is worse, `Equal` where the two cannot be told apart.
    pub compare: Compare,
    /// Which of two points is shown where either could stand for both, first the better one. It
    /// must be total, and should begin with the size.
    pub order: Order,
}

impl<Compare, Order> Tolerant<Compare, Order>
where
    Compare: Fn(usize, usize, usize) -> Ordering,
    Order: Fn(usize, usize) -> Ordering,
{
    /// The place of every point.
    ///
    /// A point *covers* another where it is not worse beyond the noise in any objective, and is
    /// better in one; or where no objective tells the two apart and it comes first in the order.
    /// What is shown is a kernel of this relation: every point that is not shown is covered by one
    /// that is, and shown points do not cover each other. So
    ///
    /// - a point that is better than each other one in something, beyond the noise, is shown;
    /// - of points that differ in nothing but an exact objective the best one in it is shown;
    /// - a point goes only for the sake of one that is there to be looked at. "Cannot be told
    ///   apart" is not transitive, so leaving out everything that *any* point covers would let a
    ///   chain of small steps, each within the noise, take away what is far better than its start;
    /// - classes lie around their shown points, not along such chains.
    ///
    /// The kernel is found by showing, again and again, the first point in the order that no
    /// undecided point covers, and leaving out what it covers. A finite relation without cycles has
    /// exactly one kernel (von Neumann and Morgenstern, "Theory of Games and Economic Behavior",
    /// 1944, §65), so the order decides between equals only. Noise can close a cycle; where every
    /// undecided point is covered by another the first in the order is shown, and two shown points
    /// may then cover one another.
    ///
    /// Pairs are compared when they are needed, exact objectives first; at most a few times the
    /// square of the number of points.
    pub fn places(&self) -> Vec<Place> {
        let shown = self.shown();
        let mut places = vec![Place::Shown; self.points];
        for (point, place) in places.iter_mut().enumerate() {
            if shown.contains(&point) {
                continue;
            }
            // From the back: of several the nearest in the order says most.
            let beats = |&&other: &&usize| self.beats(other, point);
            let covers = |&&other: &&usize| self.covers(other, point);
            if let Some(&by) = shown.iter().rev().find(beats) {
                *place = Place::BeatenBy(by);
            } else if let Some(&with) = shown.iter().rev().find(covers) {
                *place = Place::SameAs(with);
            }
        }
        places
    }

    /// Better beyond the noise in a measured objective, and not worse in any.
    pub fn beats(&self, point: usize, other: usize) -> bool {
        self.is_nowhere_worse(point, other)
            && self.objectives().any(|objective| {
                self.measured[objective] && (self.compare)(point, other, objective).is_lt()
            })
    }

    fn covers(&self, point: usize, other: usize) -> bool {
        point != other
            && self.is_nowhere_worse(point, other)
            && ((self.order)(point, other).is_lt()
                || self
                    .objectives()
                    .any(|objective| (self.compare)(point, other, objective).is_lt()))
    }

    fn is_nowhere_worse(&self, point: usize, other: usize) -> bool {
        self.objectives()
            .all(|objective| (self.compare)(point, other, objective).is_le())
    }

    /// Exact ones first, since they cost nothing and decide most pairs.
    fn objectives(&self) -> impl Iterator<Item = usize> {
        let of_kind = |measured| {
            let objectives = 0..self.measured.len();
            objectives.filter(move |&objective| self.measured[objective] == measured)
        };
        of_kind(false).chain(of_kind(true))
    }

    /// The shown points in their order.
    fn shown(&self) -> Vec<usize> {
        let mut undecided: Vec<usize> = (0..self.points).collect();
        undecided.sort_by(|&left, &right| (self.order)(left, right));
        let mut is_undecided = vec![true; self.points];
        // For each point the first place in the order from which it may still be covered: what
        // stands before is decided or does not cover it, and stays so.
        let ordered = undecided.clone();
        let mut from = vec![0; self.points];
        let mut shown = Vec::new();
        while let Some(&first) = undecided.first() {
            let is_uncovered = |&&point: &&usize| {
                while let Some(&other) = ordered.get(from[point]) {
                    if is_undecided[other] && self.covers(other, point) {
                        return false;
                    }
                    from[point] += 1;
                }
                true
            };
            let next = undecided.iter().find(is_uncovered).copied();
            let next = next.unwrap_or(first);
            shown.push(next);
            is_undecided[next] = false;
            undecided.retain(|&point| {
                is_undecided[point] &= point != next && !self.covers(next, point);
                is_undecided[point]
            });
        }
        shown.sort_by(|&left, &right| (self.order)(left, right));
        shown
    }
}
