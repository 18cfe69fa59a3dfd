//! What disturbed the timings of a front.

use std::collections::BTreeMap;

use bitfront_model::{Front, FrontPoint, Mark};

use crate::figures::count;

/// Why the point's published latency is to be trusted less.
pub(crate) fn marks(point: &FrontPoint) -> &[Mark] {
    let latency = point.latency.as_ref();
    latency.map_or(&[], |figure| &figure.evidence.environment.marks)
}

/// The same by name, for programs: `busy, not_pinned`; none where there are none.
pub(crate) fn names(point: &FrontPoint) -> Option<String> {
    let names: Vec<_> = marks(point).iter().map(|mark| mark.name()).collect();
    (!names.is_empty()).then(|| names.join(", "))
}

/// What all timings of a front have in common, and how many have each other mark.
#[derive(Debug, Default)]
pub(crate) struct Disturbances {
    timings: u64,
    marked: BTreeMap<Mark, u64>,
}

impl Disturbances {
    pub(crate) fn of(front: &Front) -> Self {
        let mut found = Self::default();
        for point in front.points.iter().filter(|point| point.latency.is_some()) {
            found.timings += 1;
            for &mark in marks(point) {
                *found.marked.entry(mark).or_default() += 1;
            }
        }
        found
    }

    /// True where a point's timing was disturbed by more than every timing of the front was.
    pub(crate) fn sets_apart(&self, point: &FrontPoint) -> bool {
        marks(point)
            .iter()
            .any(|mark| self.marked.get(mark) != Some(&self.timings))
    }

    /// Lines for people, each with its end; empty where nothing disturbed anything.
    pub(crate) fn legend(&self) -> String {
        let (all, some): (Vec<_>, Vec<_>) = self
            .marked
            .iter()
            .partition(|(_, timings)| **timings == self.timings);
        let mut legend = String::new();
        if !some.is_empty() {
            let some = some
                .iter()
                .map(|(mark, timings)| format!("{} ({})", told(**mark), count(**timings, "timing")))
                .collect::<Vec<_>>();
            legend += &format!("~ timed under a disturbance: {}\n", some.join(", "));
        }
        if !all.is_empty() {
            let all = all.iter().map(|(mark, _)| told(**mark)).collect::<Vec<_>>();
            legend += &format!("every timing: {}\n", all.join(", "));
        }
        legend
    }
}

fn told(mark: Mark) -> &'static str {
    match mark {
        Mark::Busy => "others used the cores that measure",
        Mark::Throttled => "the processor was throttled",
        Mark::Hot => "the device was hot",
        Mark::OnBattery => "the device ran on its battery",
        Mark::NotPinned => "not held to fixed cores",
        Mark::CoresShared => "no cores were left for the agent's other threads",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_every_timing_has_is_said_once_and_the_rest_of_each() {
        let mut front = crate::testing::front();
        assert_eq!(Disturbances::of(&front).legend(), "");
        let mut timings = 0;
        for point in &mut front.points {
            let Some(latency) = &mut point.latency else {
                continue;
            };
            timings += 1;
            let marks = &mut latency.evidence.environment.marks;
            if timings == 1 {
                marks.push(Mark::Busy);
            }
            marks.push(Mark::CoresShared);
        }
        let found = Disturbances::of(&front);
        assert_eq!(
            found.legend(),
            "~ timed under a disturbance: others used the cores that measure (1 timing)\n\
             every timing: no cores were left for the agent's other threads\n"
        );
        let apart: Vec<_> = front
            .points
            .iter()
            .filter(|it| found.sets_apart(it))
            .collect();
        assert_eq!(apart.len(), 1);
        assert_eq!(names(apart[0]).unwrap(), "busy, cores_shared");
    }
}
