//! A device whose true times are known and whose noise is of a chosen kind.

use std::time::Duration;

/// What a device suffers from. All kinds slow members down by chance alone, so the true ratio of
/// two members is that of their undisturbed times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noise {
    /// Half a percent around the true time.
    Quiet,
    /// Two percent around the true time.
    Jitter,
    /// A clock that wanders by up to a fifth within seconds, as under a thermal governor.
    Drift,
    /// Stretches of tens of milliseconds in which another program takes half of the machine.
    Bursts,
    /// One sample in six hit by a delay without a bound on its mean square.
    HeavyTails,
    /// All of them together.
    Everything,
}

impl Noise {
    /// Every kind.
    pub const ALL: [Self; 6] = [
        Self::Quiet,
        Self::Jitter,
        Self::Drift,
        Self::Bursts,
        Self::HeavyTails,
        Self::Everything,
    ];
}

/// A device under simulated time.
pub struct SimulatedDevice {
    noise: Noise,
    /// Undisturbed times by member, in nanoseconds.
    times_ns: Vec<f64>,
    random: fastrand::Rng,
    now_ns: f64,
    drift: f64,
    burst_until_ns: f64,
}

impl SimulatedDevice {
    /// A device on which members take these times.
    pub fn new(noise: Noise, times_ns: &[f64], seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        // Where in its wandering the clock is when the measuring begins.
        let drift = random.f64() * std::f64::consts::TAU;
        Self {
            noise,
            times_ns: times_ns.to_vec(),
            random,
            now_ns: 0.0,
            drift,
            burst_until_ns: 0.0,
        }
    }

    /// One sample of a member.
    pub fn sample(&mut self, member: usize) -> Duration {
        let has = |kind: Noise| self.noise == kind || self.noise == Noise::Everything;
        let (drifts, bursts, tails) = (
            has(Noise::Drift),
            has(Noise::Bursts),
            has(Noise::HeavyTails),
        );
        let spread = if has(Noise::Jitter) { 0.02 } else { 0.005 };
        let mut factor = 1.0 + spread * self.normal();
        if drifts {
            let seconds = self.now_ns / 1e9;
            factor *= 1.1 + 0.1 * (self.drift + 2.0 * seconds).sin();
        }
        if bursts {
            if self.now_ns >= self.burst_until_ns && self.random.f64() < 0.004 {
                let length = 10e6 + 50e6 * self.random.f64();
                self.burst_until_ns = self.now_ns + length;
            }
            if self.now_ns < self.burst_until_ns {
                factor *= 1.6 + 0.4 * self.random.f64();
            }
        }
        if tails && self.random.f64() < 1.0 / 6.0 {
            // A Pareto tail with exponent 1.5: its variance is infinite.
            let tail = (1.0 - self.random.f64()).powf(-1.0 / 1.5) - 1.0;
            factor *= 1.0 + 0.05 * tail.min(100.0);
        }
        let taken = self.times_ns[member] * factor.max(0.5);
        self.now_ns += taken;
        Duration::from_nanos(taken as u64)
    }

    /// A standard normal value, by Box and Muller.
    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.random.f64()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.random.f64()).cos()
    }
}
