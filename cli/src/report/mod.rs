//! A search as a web page that needs nothing else: no script, no font, no other file.

mod background;
mod belief;
mod page;
mod sections;

use bitfront_model::{Front, FrontPoint, Limits};

use crate::args::By;
use crate::view::{FrontView as _, PointView as _};

pub(crate) use page::escape;

/// Writes the page. `max_kld` is the divergence that the page names the best plan under.
pub(crate) fn html(front: &Front, max_kld: f64) -> anyhow::Result<String> {
    let summary = Summary::new(front, max_kld);
    let body = [
        sections::heading(front, &summary),
        sections::fronts(front, &summary),
        sections::table(front, &summary),
        sections::reasons(front),
        sections::precision_maps(front, &summary),
        belief::beliefs(front),
        background::measuring(front),
        background::request(front)?,
    ];
    let title = format!("{} · bitfront", front.spec().name);
    Ok(page::page(&title, &body.concat()))
}

/// The points that a page is about.
pub(crate) struct Summary<'a> {
    /// The divergence that the best plan keeps.
    pub(crate) max_kld: f64,
    /// The smallest plan within it.
    pub(crate) smallest: Option<&'a FrontPoint>,
    /// The fastest plan within it.
    pub(crate) fastest: Option<&'a FrontPoint>,
    /// The knee of the front.
    pub(crate) knee: Option<&'a FrontPoint>,
    /// The smallest of llama.cpp's presets within it.
    pub(crate) preset: Option<&'a FrontPoint>,
}

impl<'a> Summary<'a> {
    /// Finds them.
    pub(crate) fn new(front: &'a Front, max_kld: f64) -> Self {
        let limits = Limits {
            max_kld: Some(max_kld),
            ..Limits::default()
        };
        let presets = front
            .points
            .iter()
            .filter(|point| point.preset().is_some() && point.keeps(&limits));
        Self {
            max_kld,
            smallest: front.best_within(&limits, By::Size),
            fastest: front.best_within(&limits, By::Decode),
            knee: front.knee(),
            preset: presets.min_by_key(|point| point.size_bytes),
        }
    }

    /// The plan that a page shows in detail: the smallest within the limit, or else the knee.
    pub(crate) fn chosen(&self) -> Option<&'a FrontPoint> {
        self.smallest.or(self.knee)
    }

    /// How much smaller the smallest plan is than the smallest preset that is as good.
    pub(crate) fn saving(&self) -> Option<(f64, String)> {
        let (smallest, preset) = (self.smallest?, self.preset?);
        let share = 1.0 - smallest.size_bytes as f64 / preset.size_bytes as f64;
        let name = preset.preset()?.to_owned();
        (share > 0.0).then_some((share, name))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_page_needs_nothing_but_itself() {
        let page = html(&crate::testing::front(), 0.01).unwrap();
        for needed in [
            "<svg",
            "prefers-color-scheme",
            "Q4_K_M",
            "Example CPU",
            "knee",
            "Why each is there",
        ] {
            assert!(page.contains(needed), "{needed}");
        }
        let fetches = ["<script", "<link", "src=", "@import"];
        for fetched in fetches {
            assert!(!page.contains(fetched), "{fetched}");
        }
        // A picture refers to its own parts, and names the language that it is written in.
        let links = page
            .replace("http://www.w3.org/2000/svg", "")
            .replace("url(#", "");
        assert!(!links.contains("http") && !links.contains("url("));
    }

    #[test]
    fn devices_that_disagree_are_named_beside_the_table() {
        let mut front = crate::testing::front();
        crate::testing::confirm(&mut front);
        let mut shown = front.points.iter_mut().filter(|point| point.on_front);
        let point = shown.find(|point| point.confirmation.is_some()).unwrap();
        crate::testing::rescore(point, "other", 1.5);
        let page = html(&front, 0.01).unwrap();
        assert_eq!(page.matches("≠ see below").count(), 1);
        let told = "<p>≠ `other` gets 1.50 times the divergences of `laptop`";
        assert!(page.contains(told), "{page}");
    }

    #[test]
    fn names_from_outside_stay_text() {
        let mut front = crate::testing::front();
        front.status.request.spec.name = "<img onerror=x>".into();
        let page = html(&front, 0.01).unwrap();
        assert!(!page.contains("<img"));
    }

    #[test]
    fn a_search_without_measurements_is_a_page_too() {
        let mut front = crate::testing::front();
        front.points.clear();
        front.hardware_profile = None;
        assert!(
            html(&front, 0.01)
                .unwrap()
                .contains("Nothing has been measured")
        );
    }
}
