//! Where names go, so that they cover neither dots nor each other.
//!
//! Each label tries a few places around its dot, near ones first, and takes the one that covers
//! least; earlier labels come first. Placing point labels best is NP-hard (Christensen, Marks,
//! Shieber 1995); for a dozen of labels this greedy rule leaves little to wish for.

/// Directions in the order of preference, y pointing down. A front falls from upper left to lower
/// right, so below left of it there is nothing.
const DIRECTIONS: [(f64, f64); 8] = [
    (-0.7, 0.7),
    (0.7, -0.7),
    (-1.0, 0.1),
    (1.0, -0.1),
    (-0.3, 1.0),
    (0.3, -1.0),
    (0.8, 0.6),
    (-0.8, -0.6),
];

/// Distances from the dot, in pixels.
const DISTANCES: [f64; 6] = [12.0, 18.0, 26.0, 36.0, 48.0, 64.0];

/// A name and the pixel that it belongs to.
pub(super) struct Label<'a> {
    pub(super) at: (f64, f64),
    pub(super) text: &'a str,
}

/// A rectangle in pixels: left, top, right, bottom.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Area {
    pub(super) left: f64,
    pub(super) top: f64,
    pub(super) right: f64,
    pub(super) bottom: f64,
}

impl Area {
    /// The place of a text whose baseline starts (or, to the left of its dot, ends) at an offset.
    fn of_text(label: &Label<'_>, (dx, dy): (f64, f64), size: f64) -> Self {
        let width = label.text.chars().count() as f64 * size * 0.6;
        let (x, baseline) = (label.at.0 + dx, label.at.1 + dy);
        let (left, right) = if dx >= 0.0 {
            (x, x + width)
        } else {
            (x - width, x)
        };
        Self {
            left,
            top: baseline - size * 0.85,
            right,
            bottom: baseline + size * 0.25,
        }
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.left < other.right
            && other.left < self.right
            && self.top < other.bottom
            && other.top < self.bottom
    }

    fn holds(&self, (x, y): (f64, f64), margin: f64) -> bool {
        x > self.left - margin
            && x < self.right + margin
            && y > self.top - margin
            && y < self.bottom + margin
    }

    fn is_inside(&self, bounds: &Self) -> bool {
        self.left >= bounds.left
            && self.right <= bounds.right
            && self.top >= bounds.top
            && self.bottom <= bounds.bottom
    }
}

/// An offset from its dot for every label: to the text's start where it is to the right, to the
/// text's end where it is to the left.
pub(super) fn place(
    labels: &[Label<'_>],
    dots: &[(f64, f64)],
    bounds: Area,
    size: f64,
) -> Vec<(f64, f64)> {
    let mut taken: Vec<Area> = Vec::with_capacity(labels.len());
    labels
        .iter()
        .map(|label| {
            let mut best = ((DISTANCES[0], 0.0), f64::INFINITY);
            for distance in DISTANCES {
                for (direction, (x, y)) in DIRECTIONS.into_iter().enumerate() {
                    // A text above or below its dot is measured from its nearer edge.
                    let drop = if y > 0.3 { size * 0.6 } else { 0.0 };
                    let offset = (x * distance, y * distance + drop);
                    let area = Area::of_text(label, offset, size);
                    let covered = dots.iter().filter(|&&dot| area.holds(dot, 4.0)).count();
                    let clashes = taken.iter().filter(|other| area.overlaps(other)).count();
                    let outside = if area.is_inside(&bounds) { 0.0 } else { 1000.0 };
                    let cost = outside
                        + 100.0 * clashes as f64
                        + 20.0 * covered as f64
                        + distance
                        + 2.0 * direction as f64;
                    if cost < best.1 {
                        best = (offset, cost);
                    }
                }
            }
            taken.push(Area::of_text(label, best.0, size));
            best.0
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Area = Area {
        left: 0.0,
        top: 0.0,
        right: 400.0,
        bottom: 300.0,
    };

    #[test]
    fn crowded_names_make_way_for_each_other() {
        let texts = ["Q4_K_S", "Q4_K_M", "q4_k", "knee"];
        let labels: Vec<_> = texts
            .iter()
            .enumerate()
            .map(|(index, text)| Label {
                at: (200.0 + 3.0 * index as f64, 150.0 + 2.0 * index as f64),
                text,
            })
            .collect();
        let dots: Vec<_> = labels.iter().map(|label| label.at).collect();
        let areas: Vec<_> = place(&labels, &dots, BOUNDS, 11.0)
            .into_iter()
            .zip(&labels)
            .map(|(offset, label)| Area::of_text(label, offset, 11.0))
            .collect();
        for (index, area) in areas.iter().enumerate() {
            assert!(area.is_inside(&BOUNDS));
            assert!(areas[..index].iter().all(|other| !area.overlaps(other)));
            assert!(dots.iter().all(|&dot| !area.holds(dot, 0.0)));
        }
    }

    #[test]
    fn a_name_at_the_edge_stays_inside() {
        let label = Label {
            at: (2.0, 299.0),
            text: "uniform q8_0",
        };
        let offsets = place(&[label], &[(2.0, 299.0)], BOUNDS, 11.0);
        assert!(offsets[0].0 >= 0.0 && offsets[0].1 <= 0.0, "{offsets:?}");
    }
}
