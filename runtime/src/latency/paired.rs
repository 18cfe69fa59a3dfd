//! Times candidates beside an anchor, in blocks.
//!
//! In a block the anchor and every candidate that is not done yet take one *turn* each, in a random
//! order; a turn is several samples and stands for their median. What counts is the ratio of a
//! candidate's turn to the anchor's of the same block: a machine that is slower for a second slows
//! both. Blocks in which one of the two moved away from its neighbours in time are measured again.
//!
//! Nothing here reads a clock: durations come from the caller, so a test may make them.

use std::time::Duration;

use bitfront_model::Interval;

use super::LatencySettings;
use super::place::at_place_of;
use super::stopping::{Decision, FEWEST, Looks, MOST_BLOCKS};
use crate::RuntimeError;
use crate::stats::{median, median_interval};

/// Takes one sample of a member, 0 being the anchor, and says how long it took. The second number
/// counts the samples of that member that may count from 0, to choose an input by.
pub type Sample<'a> = dyn FnMut(usize, usize) -> Result<Taken, RuntimeError> + 'a;

/// How long a sample took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// What counts as the member's time.
    pub counted: Duration,
    /// What passed meanwhile, with the waiting for a core: what limits are held against.
    pub elapsed: Duration,
}

impl From<Duration> for Taken {
    /// A sample that waited for nothing.
    fn from(elapsed: Duration) -> Self {
        Self {
            counted: elapsed,
            elapsed,
        }
    }
}

/// Two windows of the warm-up agree where their medians differ by less than this share.
const AGREEMENT: f64 = 0.02;

/// A turn moved where it differs by more than this share from the median of its neighbours.
const MOVED: f64 = 0.03;

/// It must also differ by this many standard deviations of what is usual on the device.
const UNUSUAL: f64 = 4.0;

/// The median of the absolute value of a standard normal variable: from a median to a standard
/// deviation.
const MEDIAN_OF_NORMAL: f64 = 0.674_489_75;

/// Turns on either side that a turn is held against.
const NEIGHBOURS: usize = 2;

/// A sample that takes longer was not timed by a clock that can be trusted: leases end before.
const LONGEST_SAMPLE: Duration = Duration::from_secs(3600);

/// A sample that takes this long hardly notices that it finds the caches full of another plan's
/// weights: the demo model's cost a sample a quarter of a millisecond.
const LONG_SAMPLE: Duration = Duration::from_millis(50);

/// Most samples in a turn, however short they are.
const MOST_SAMPLES: f64 = 1000.0;

/// What was measured of one candidate.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// The blocks that count, in the order in which they were measured.
    pub blocks: Vec<Block>,
    /// Blocks that were measured again.
    pub discarded: u32,
    /// The limit on time or blocks came before the interval was narrow enough.
    pub noisy: bool,
    /// Time spent warming the candidate up.
    pub warm_up: Duration,
}

/// The turns of a candidate and of the anchor in one block: raw samples in nanoseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// The candidate's samples.
    pub candidate: Vec<u64>,
    /// The anchor's samples.
    pub anchor: Vec<u64>,
}

impl Block {
    /// The candidate's time through the anchor's.
    pub fn ratio(&self) -> f64 {
        turn_ns(&self.candidate) / turn_ns(&self.anchor)
    }
}

impl Series {
    /// The ratios of the blocks that count.
    pub fn ratios(&self) -> Vec<f64> {
        self.blocks.iter().map(Block::ratio).collect()
    }

    /// The median ratio with an interval that holds it with `confidence`.
    ///
    /// None where nothing was measured.
    pub fn ratio(&self, confidence: f64) -> Option<(f64, Interval)> {
        let ratios = self.ratios();
        let interval = ratio_interval(&ratios, confidence)?;
        Some((median(&ratios)?, interval))
    }
}

/// A distribution-free interval of the median of ratios whose number was not fixed beforehand.
///
/// Looking at an interval to decide whether it is narrow enough favours the ones that are narrow
/// by chance, which costs it up to a hundredth of its confidence (`tests/paired.rs` measures how
/// much is left); so it is made for that much more.
pub(super) fn ratio_interval(ratios: &[f64], confidence: f64) -> Option<Interval> {
    const COST_OF_LOOKING: f64 = 0.01;
    let wider = median_interval(ratios, confidence + COST_OF_LOOKING)?;
    Some(Interval {
        confidence: confidence.min((wider.confidence - COST_OF_LOOKING).max(0.0)),
        ..wider
    })
}

/// The time that a turn stands for: the median of its samples, in nanoseconds.
pub(super) fn turn_ns(samples: &[u64]) -> f64 {
    let samples = samples.iter().map(|&sample| sample as f64);
    median(&samples.collect::<Vec<_>>()).unwrap_or(f64::NAN)
}

/// Times `candidates` members beside the anchor until the interval of each ratio is narrow enough
/// or the limit on time is reached.
///
/// # Errors
///
/// What `sample` fails with, and a sample that took no time.
pub fn time(
    candidates: usize,
    settings: &LatencySettings,
    sample: &mut Sample<'_>,
) -> Result<Vec<Series>, RuntimeError> {
    let mut members = Vec::with_capacity(candidates + 1);
    for number in 0..=candidates {
        members.push(Member::warmed_up(number, settings, sample)?);
    }
    // All or none: a ratio of one side that is settled to one that is not would be off by what that
    // is worth.
    let settles = members.iter().any(|member| member.short);
    let mut random = fastrand::Rng::with_seed(settings.seed);
    let mut open: Vec<_> = (1..=candidates).map(|_| Some(Looks::new())).collect();
    let mut noisy = vec![false; candidates];
    // By member, and by block; the turns of a member that was done are missing at the end.
    let mut turns: Vec<Vec<Vec<u64>>> = vec![Vec::new(); candidates + 1];
    let limit = settings.most_time.saturating_mul(members.len() as u32);
    let mut spent = Duration::ZERO;
    while open.iter().any(Option::is_some) {
        let mut order = vec![0];
        order.extend((1..=candidates).filter(|&number| open[number - 1].is_some()));
        random.shuffle(&mut order);
        for number in order {
            let (turn, elapsed) = members[number].turn(settles, sample)?;
            spent += elapsed;
            turns[number].push(turn);
        }
        let late = spent >= limit || turns[0].len() >= MOST_BLOCKS;
        for (candidate, looks) in open.iter_mut().enumerate() {
            let Some(progress) = looks else { continue };
            let kept = kept(&turns[candidate + 1], &turns[0]);
            let ratios = kept
                .iter()
                .map(|&block| turn_ns(&turns[candidate + 1][block]) / turn_ns(&turns[0][block]));
            let decision = progress.decide(&ratios.collect::<Vec<_>>(), late, settings);
            let few = turns[0].len() < FEWEST;
            if decision != Decision::Continue && !few {
                noisy[candidate] = decision == Decision::GiveUp;
                *looks = None;
            }
        }
    }
    let (anchor, candidates) = turns.split_at(1);
    let series = candidates.iter().zip(&members[1..]).zip(noisy);
    Ok(series
        .map(|((turns, member), noisy)| {
            let mut kept = kept(turns, &anchor[0]);
            // A device so restless that hardly a block has quiet neighbours: all of them count,
            // and the interval says what that is worth.
            if kept.len() < FEWEST {
                kept = (0..turns.len()).collect();
            }
            Series {
                discarded: (turns.len() - kept.len()) as u32,
                blocks: kept
                    .into_iter()
                    .map(|block| Block {
                        candidate: turns[block].clone(),
                        anchor: anchor[0][block].clone(),
                    })
                    .collect(),
                noisy,
                warm_up: member.warm_up,
            }
        })
        .collect())
}

/// The blocks in which neither side moved.
///
/// Both sides are held to the same rule: where only the anchor's slow turns were dropped, what
/// remains would make every candidate look slower than it is.
fn kept(candidate: &[Vec<u64>], anchor: &[Vec<u64>]) -> Vec<usize> {
    let times = |turns: &[Vec<u64>]| turns.iter().map(|turn| turn_ns(turn)).collect::<Vec<_>>();
    let candidate_stays = stays(&times(candidate));
    let anchor_stays = stays(&times(&anchor[..candidate.len()]));
    (0..candidate.len())
        .filter(|&block| candidate_stays[block] && anchor_stays[block])
        .collect()
}

/// For each turn, whether it stays where its neighbours in time are.
///
/// A turn moved where it differs from the median of its neighbours by more than [`MOVED`], and by
/// more than the turns of this device usually do: dropping a part of the usual noise would make
/// intervals narrower than the truth allows.
fn stays(times: &[f64]) -> Vec<bool> {
    let moves: Vec<_> = (0..times.len()).map(|turn| move_of(times, turn)).collect();
    let usual = median(&moves).unwrap_or_default() / MEDIAN_OF_NORMAL;
    let most = (UNUSUAL * usual).max(MOVED);
    moves.into_iter().map(|moved| moved <= most).collect()
}

/// By what share a turn differs from the median of its neighbours; nothing where it has too few.
fn move_of(times: &[f64], turn: usize) -> f64 {
    let first = turn.saturating_sub(NEIGHBOURS);
    let last = (turn + NEIGHBOURS).min(times.len() - 1);
    let neighbours: Vec<_> = (first..=last)
        .filter(|&other| other != turn)
        .map(|other| times[other])
        .collect();
    match median(&neighbours) {
        Some(usual) if neighbours.len() >= NEIGHBOURS => (times[turn] / usual - 1.0).abs(),
        _ => 0.0,
    }
}

/// The anchor or a candidate, with how it is sampled.
struct Member {
    number: usize,
    /// Samples taken so far, without those that are not counted.
    taken: usize,
    samples_per_turn: usize,
    /// Its samples are so short that they notice what the caches are full of.
    short: bool,
    warm_up: Duration,
}

impl Member {
    /// Warms a member up: at least for the time and the number of samples of the settings, and
    /// until two successive windows agree or the limit is reached.
    fn warmed_up(
        number: usize,
        settings: &LatencySettings,
        sample: &mut Sample<'_>,
    ) -> Result<Self, RuntimeError> {
        let mut member = Self {
            number,
            taken: 0,
            samples_per_turn: 1,
            short: true,
            warm_up: Duration::ZERO,
        };
        let mut before: Option<f64> = None;
        loop {
            let mut window = Vec::new();
            let mut length = Duration::ZERO;
            while window.is_empty() || length < settings.turn {
                let taken = member.sample(sample)?;
                length += taken.counted;
                member.warm_up += taken.elapsed;
                window.push(taken.counted.as_nanos() as f64);
            }
            let now = median(&window).unwrap_or(f64::NAN);
            member.samples_per_turn = {
                let wanted = settings.turn.as_nanos() as f64 / now;
                wanted.ceil().clamp(1.0, MOST_SAMPLES) as usize
            };
            member.short = now < LONG_SAMPLE.as_nanos() as f64;
            let agrees = before.is_some_and(|before| (now / before - 1.0).abs() < AGREEMENT);
            let enough = member.warm_up >= settings.warm_up
                && member.taken >= settings.warm_up_runs as usize;
            if (agrees && enough) || member.warm_up >= settings.most_warm_up {
                return Ok(member);
            }
            before = Some(now);
        }
    }

    /// One turn. Where it `settles`, a sample before it is not counted: it finds the caches full of
    /// another plan's weights, which in use it never does. Returns what counts, and what passed
    /// meanwhile.
    fn turn(
        &mut self,
        settles: bool,
        sample: &mut Sample<'_>,
    ) -> Result<(Vec<u64>, Duration), RuntimeError> {
        let mut elapsed = Duration::ZERO;
        if settles {
            // Another input and another place than the one that follows has; neither is used up.
            elapsed += self.sample_as(self.taken + 1, sample)?.elapsed;
        }
        let mut turn = Vec::with_capacity(self.samples_per_turn);
        for _ in 0..self.samples_per_turn {
            let taken = self.sample(sample)?;
            turn.push(nanoseconds(taken.counted));
            elapsed += taken.elapsed;
        }
        Ok((turn, elapsed))
    }

    fn sample(&mut self, sample: &mut Sample<'_>) -> Result<Taken, RuntimeError> {
        let taken = self.sample_as(self.taken, sample)?;
        self.taken += 1;
        Ok(taken)
    }

    /// One sample with the input and at the place of this number.
    fn sample_as(&self, sequence: usize, sample: &mut Sample<'_>) -> Result<Taken, RuntimeError> {
        let taken = at_place_of(sequence, &mut || sample(self.number, sequence))?;
        moved_on(taken.elapsed)?;
        Ok(taken)
    }
}

/// A time that a clock can have measured. One that stood still, or went backwards, which the
/// standard library turns into no time at all, or jumped ahead is an error of the device: what was
/// timed by it is nowhere near the truth, and nothing of it is kept.
pub(super) fn moved_on(taken: Duration) -> Result<Duration, RuntimeError> {
    let broken = |how: String| Err(RuntimeError::Engine(format!("{how}: the clock is broken")));
    if taken.is_zero() {
        return broken("a sample took no time at all".to_owned());
    }
    if taken > LONGEST_SAMPLE {
        return broken(format!("a sample took {} hours", taken.as_secs() / 3600));
    }
    Ok(taken)
}

pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn steady(number: usize) -> Duration {
        Duration::from_micros(1000 + 500 * number as u64)
    }

    #[test]
    fn a_quiet_device_is_done_with_the_fewest_blocks_and_finds_the_ratios() {
        let settings = LatencySettings::default();
        let series = time(2, &settings, &mut |number, _| Ok(steady(number).into())).unwrap();
        for (series, ratio) in series.iter().zip([1.5, 2.0]) {
            assert_eq!(series.ratio(0.95).unwrap().0, ratio);
            assert_eq!((series.blocks.len(), series.discarded), (12, 0));
            assert!(!series.noisy && series.warm_up >= settings.warm_up);
            assert_eq!(series.blocks[0].anchor.len(), 5);
        }
    }

    #[test]
    fn a_candidate_that_is_done_leaves_the_others_alone() {
        // The first candidate alternates between two times, so its ratio never settles.
        let mut turn = 0u64;
        let mut sample = |number: usize, _| {
            turn += 1;
            let swing = if number == 1 { turn % 7 * 4 } else { 0 };
            Ok((steady(number) + Duration::from_micros(swing * 10)).into())
        };
        let settings = LatencySettings {
            target: 0.001,
            ..LatencySettings::default()
        };
        let series = time(2, &settings, &mut sample).unwrap();
        assert!(series[0].blocks.len() > series[1].blocks.len());
        assert_eq!(series[1].blocks.len(), 12);
    }

    #[test]
    fn a_block_that_a_disturbance_hit_is_measured_again() {
        let mut taken = 0;
        let settings = LatencySettings::default();
        let mut disturbed = |number: usize, _| {
            taken += 1;
            // Long after the warm-up, for the length of two turns.
            let slow = (130..142).contains(&taken);
            Ok((steady(number) * if slow { 3 } else { 1 }).into())
        };
        let series = time(1, &settings, &mut disturbed).unwrap();
        assert!((1..=3).contains(&series[0].discarded), "{series:?}");
        assert_eq!(series[0].blocks.len(), 12);
        assert_eq!(series[0].ratio(0.95).unwrap().0, 1.5);
    }

    #[test]
    fn a_device_that_never_calms_down_is_called_noisy_after_the_limit() {
        let mut random = fastrand::Rng::with_seed(7);
        let settings = LatencySettings {
            most_time: Duration::from_millis(100),
            ..LatencySettings::default()
        };
        let mut wild = |number: usize, _| Ok((steady(number) * random.u32(1..20)).into());
        let series = time(1, &settings, &mut wild).unwrap();
        assert!(series[0].noisy && series[0].blocks.len() >= FEWEST);
        let (ratio, interval) = series[0].ratio(0.95).unwrap();
        assert!(interval.low < ratio && ratio < interval.high);
    }

    #[test]
    fn the_warm_up_goes_on_until_two_windows_agree() {
        let settings = LatencySettings::default();
        // It takes forty samples to get up to speed, each a twentieth faster than the one before.
        let mut cold = |_: usize, taken: usize| {
            let slower = 1.05f64.powi(40 - taken.min(40) as i32);
            Ok(Duration::from_millis(1).mul_f64(slower).into())
        };
        let member = Member::warmed_up(0, &settings, &mut cold).unwrap();
        assert!(member.taken >= 40, "{}", member.taken);
        assert!(member.warm_up < settings.most_warm_up);
    }

    #[test]
    fn turns_of_short_samples_begin_with_one_that_is_not_counted() {
        let settings = LatencySettings::default();
        // The anchor's sample, and the candidate's, in milliseconds.
        for (anchor, candidate, settled) in [(2, 2, 1), (49, 60, 1), (60, 49, 1), (51, 60, 0)] {
            let sample = |number: usize| Duration::from_millis([anchor, candidate][number]);
            let mut taken = [0, 0];
            let series = time(1, &settings, &mut |number, _| {
                taken[number] += 1;
                Ok(sample(number).into())
            });
            let series = &series.unwrap()[0];
            for (number, taken) in taken.into_iter().enumerate() {
                let mut alone = |_: usize, _: usize| Ok(sample(number).into());
                let member = Member::warmed_up(number, &settings, &mut alone).unwrap();
                let turns = series.blocks.len() * (member.samples_per_turn + settled);
                assert_eq!(taken, member.taken + turns, "{anchor} {candidate} {number}");
            }
        }
    }

    #[test]
    fn what_settles_counts_for_limits_and_uses_up_no_input_and_no_place() {
        for sample in [2, 5, 20] {
            let sample = Duration::from_millis(sample);
            let settings = LatencySettings::default();
            let mut numbers = Vec::new();
            let mut take = |_: usize, number: usize| {
                numbers.push(number);
                Ok(sample.into())
            };
            let mut member = Member::warmed_up(0, &settings, &mut take).unwrap();
            let (turn, elapsed) = member.turn(true, &mut take).unwrap();
            assert_eq!(elapsed, sample * (turn.len() + 1) as u32);
            let (next, _) = member.turn(true, &mut take).unwrap();
            let counted =
                |turn: &[u64], numbers: &[usize]| numbers[numbers.len() - turn.len()..].to_vec();
            let last = counted(&next, &numbers);
            let before = counted(&turn, &numbers[..numbers.len() - next.len() - 1]);
            assert_eq!(
                before.last().unwrap() + 1,
                last[0],
                "{sample:?}: {numbers:?}"
            );
        }
    }

    #[test]
    fn a_clock_that_stands_still_is_an_error() {
        let error = time(1, &LatencySettings::default(), &mut |_, _| {
            Ok(Duration::ZERO.into())
        });
        assert!(error.unwrap_err().to_string().contains("took no time"));
    }

    #[test]
    fn a_clock_that_jumps_at_any_moment_is_an_error_and_no_figure() {
        let centuries = Duration::from_secs(u64::MAX / 2);
        for (jump, told) in [(Duration::ZERO, "took no time"), (centuries, "hours")] {
            // In the warm-up, in the first block, and in a later one.
            for at in [1, 10, 60, 120] {
                let mut samples = 0;
                let outcome = time(1, &LatencySettings::default(), &mut |number, _| {
                    samples += 1;
                    Ok(if samples == at { jump } else { steady(number) }.into())
                });
                let error = outcome.unwrap_err().to_string();
                assert!(
                    error.contains(told) && error.contains("clock"),
                    "{at}: {error}"
                );
            }
        }
    }

    #[test]
    fn an_order_of_turns_follows_from_the_seed() {
        let order = |seed| {
            let mut order = Vec::new();
            let settings = LatencySettings {
                seed,
                ..LatencySettings::default()
            };
            time(3, &settings, &mut |number, _| {
                order.push(number);
                Ok(steady(number).into())
            })
            .unwrap();
            order
        };
        assert_eq!(order(1), order(1));
        assert_ne!(order(1), order(2));
    }

    /// A device on which the measuring thread gets a tenth of its core.
    #[test]
    fn waiting_counts_for_the_limits_and_not_for_the_times() {
        let settings = LatencySettings::default();
        let mut random = fastrand::Rng::with_seed(3);
        let mut elapsed = Duration::ZERO;
        let series = time(1, &settings, &mut |number, _| {
            let counted = steady(number) * random.u32(90..110) / 100;
            elapsed += 10 * counted;
            Ok(Taken {
                counted,
                elapsed: 10 * counted,
            })
        });
        let (ratio, _) = series.unwrap()[0].ratio(0.95).unwrap();
        assert!((ratio - 1.5).abs() < 0.1, "{ratio}");
        // Two members: their turns, the warm-up, and the turns that the limit falls into.
        let limit = 2 * (settings.most_time + settings.most_warm_up);
        assert!(elapsed < limit * 3 / 2, "{elapsed:?}");
    }
}
