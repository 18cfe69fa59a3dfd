//! The points of a front, sorted into what is drawn alike.

use bitfront_model::{Front, FrontPoint};

use crate::view::PointView as _;

/// What is drawn against divergence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Axis {
    /// Bytes of the weights.
    Size,
    /// Median time for one decode step.
    Decode,
}

impl Axis {
    /// What stands below the axis.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Size => "size of the weights (MB)",
            Self::Decode => "time for one decoded token (ms)",
        }
    }

    /// The figure in the unit of the label.
    fn figure(self, point: &FrontPoint) -> Option<f64> {
        match self {
            Self::Size => Some(point.size_bytes as f64 / 1e6),
            Self::Decode => point.decode_ns().map(|time| time / 1e6),
        }
    }
}

/// One point of a plot.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Dot {
    /// Size or time.
    pub(super) x: f64,
    /// Divergence.
    pub(super) y: f64,
    /// What it is called.
    pub(super) name: String,
}

/// The points of a plot by what they are; every point is in one of the groups.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Series {
    /// Candidates that something dominates.
    pub(super) dominated: Vec<Dot>,
    /// Candidates on the front.
    pub(super) front: Vec<Dot>,
    /// llama.cpp's presets.
    pub(super) presets: Vec<Dot>,
    /// Uniform plans.
    pub(super) uniform: Vec<Dot>,
    /// The knee, which is in its own group as well.
    pub(super) knee: Option<Dot>,
    /// The staircase of what nothing in these two dimensions dominates, from small to large.
    pub(super) staircase: Vec<(f64, f64)>,
    /// The least divergence above zero, half of which stands for zero on a logarithmic axis.
    pub(super) floor: f64,
}

impl Series {
    /// Sorts the measured points; none where nothing was measured.
    pub(super) fn new(front: &Front, axis: Axis) -> Option<Self> {
        let measured: Vec<(&FrontPoint, f64, f64)> = front
            .points
            .iter()
            .filter_map(|point| Some((point, axis.figure(point)?, point.kld()?)))
            .filter(|(_, x, y)| x.is_finite() && y.is_finite())
            .collect();
        if measured.is_empty() {
            return None;
        }
        let floor = measured
            .iter()
            .map(|&(_, _, kld)| kld)
            .filter(|&kld| kld > 0.0)
            .fold(f64::INFINITY, f64::min);
        let floor = if floor.is_finite() { floor } else { 1e-6 };
        let mut series = Self {
            dominated: Vec::new(),
            front: Vec::new(),
            presets: Vec::new(),
            uniform: Vec::new(),
            knee: None,
            staircase: Vec::new(),
            floor,
        };
        for &(point, x, kld) in &measured {
            let dot = Dot {
                x,
                y: if kld > 0.0 { kld } else { floor / 2.0 },
                name: point.name(),
            };
            if point.is_knee {
                series.knee = Some(dot.clone());
            }
            if point.preset().is_some() {
                series.presets.push(dot);
            } else if point.baseline.is_some() {
                series.uniform.push(dot);
            } else if point.on_front {
                series.front.push(dot);
            } else {
                series.dominated.push(dot);
            }
        }
        series.staircase = series.stairs();
        Some(series)
    }

    /// Every dot once.
    pub(super) fn all(&self) -> impl Iterator<Item = &Dot> {
        self.dominated
            .iter()
            .chain(&self.front)
            .chain(&self.presets)
            .chain(&self.uniform)
    }

    /// The least and the most of what is drawn from left to right.
    pub(super) fn span(&self) -> (f64, f64) {
        self.all()
            .fold((f64::INFINITY, 0.0f64), |(least, most), dot| {
                (least.min(dot.x), most.max(dot.x))
            })
    }

    /// The least and the most divergence.
    pub(super) fn divergences(&self) -> (f64, f64) {
        self.all()
            .fold((f64::INFINITY, 0.0f64), |(least, most), dot| {
                (least.min(dot.y), most.max(dot.y))
            })
    }

    fn stairs(&self) -> Vec<(f64, f64)> {
        let mut dots: Vec<_> = self.all().map(|dot| (dot.x, dot.y)).collect();
        dots.sort_by(|one, other| one.0.total_cmp(&other.0).then(one.1.total_cmp(&other.1)));
        let mut stairs: Vec<(f64, f64)> = Vec::new();
        for (x, y) in dots {
            match stairs.last() {
                Some(&(_, lowest)) if y >= lowest => {}
                Some(&(_, lowest)) => stairs.extend([(x, lowest), (x, y)]),
                None => stairs.push((x, y)),
            }
        }
        stairs
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_measured_point_is_drawn_once() {
        let mut front = crate::testing::front();
        front.points[0].quality = None;
        let series = Series::new(&front, Axis::Size).unwrap();
        assert_eq!(series.all().count(), front.points.len() - 1);
        let presets = front.points.iter().filter(|it| it.preset().is_some());
        assert_eq!(series.presets.len(), presets.count() - 1);
    }

    #[test]
    fn the_staircase_only_goes_down_and_has_right_angles() {
        let series = Series::new(&crate::testing::front(), Axis::Decode).unwrap();
        assert!(series.staircase.len() > 4);
        for step in series.staircase.windows(2) {
            let ((x, y), (next_x, next_y)) = (step[0], step[1]);
            assert!(next_x >= x && next_y <= y);
            assert!(next_x == x || next_y == y);
        }
    }

    #[test]
    fn a_divergence_of_zero_has_a_place_on_a_logarithmic_axis() {
        let mut front = crate::testing::front();
        if let Some(quality) = &mut front.points[0].quality {
            quality.value.kld = 0.0;
        }
        let series = Series::new(&front, Axis::Size).unwrap();
        assert!(series.all().all(|dot| dot.y > 0.0));
    }
}
