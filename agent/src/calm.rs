//! Waits for the device to be calm before a timing, for a short and bounded time.

use std::time::Duration;

use bitfront_model::{Condition, Environment};
use serde::{Deserialize, Serialize};

use crate::condition::{self, MOST_BUSY_CORES, Sensors, Ticks};
use crate::pinning::Pinning;

/// How long the device is watched before a timing, to see who else uses the cores. The kernel
/// counts in hundredths of a second.
const WINDOW: Duration = Duration::from_millis(100);

/// What an agent does about a device that others use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Calm {
    /// For how long a timing waits for the others to end; then it is taken and marked. After a wait
    /// in vain the next timings do not wait until the device was calm once.
    pub wait: Duration,
    /// Give the task back then, instead.
    pub refuse: bool,
}

impl Default for Calm {
    fn default() -> Self {
        Self {
            wait: Duration::from_secs(5),
            refuse: false,
        }
    }
}

/// Others use the cores that would measure.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error(
    "the device is busy: others use {busy:.2} of the cores that measure, at most \
     {MOST_BUSY_CORES} may be used while a timing is taken (load average {load}); end what runs \
     beside the agent, or start it without --refuse-busy to have such timings marked"
)]
pub(crate) struct Busy {
    busy: f64,
    load: String,
}

/// Watches the device around timings.
#[derive(Debug)]
pub(crate) struct Watch {
    sensors: Sensors,
    pinning: Pinning,
    calm: Calm,
    /// The last wait was in vain.
    restless: bool,
}

/// A timing under way.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Begun {
    before: Condition,
    ticks: Option<Ticks>,
}

/// What the device was like around a timing.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Around {
    before: Condition,
    after: Condition,
    marks: Vec<bitfront_model::Mark>,
}

impl Around {
    /// Adds it to what else is known of the device.
    pub(crate) fn add_to(self, environment: Environment) -> Environment {
        Environment {
            before: Some(self.before),
            after: Some(self.after),
            marks: self.marks,
            ..environment
        }
    }
}

impl Watch {
    pub(crate) fn new(sensors: Sensors, pinning: Pinning, calm: Calm) -> Self {
        Self {
            sensors,
            pinning,
            calm,
            restless: false,
        }
    }

    /// Waits for calm on the calling thread, which `pause` sends to sleep, and reads the sensors.
    ///
    /// # Errors
    ///
    /// The device is still busy and such timings are refused.
    pub(crate) fn begin(&mut self, pause: &mut dyn FnMut(Duration)) -> Result<Begun, Busy> {
        let wait = match self.restless && !self.calm.refuse {
            true => Duration::ZERO,
            false => self.calm.wait,
        };
        let mut waited = Duration::ZERO;
        let before = loop {
            let since = self.sensors.ticks();
            if since.is_some() {
                pause(WINDOW);
                waited += WINDOW;
            }
            let before = self.sensors.read(since);
            if !condition::is_busy(&before) || waited >= wait {
                break before;
            }
        };
        self.restless = condition::is_busy(&before);
        if self.restless && self.calm.refuse {
            let unknown = || "unknown".to_owned();
            return Err(Busy {
                busy: before.busy_cores.unwrap_or(0.0) + before.stolen_cores.unwrap_or(0.0),
                load: self
                    .sensors
                    .load_average()
                    .map_or_else(unknown, |load| load.to_string()),
            });
        }
        Ok(Begun {
            before,
            ticks: self.sensors.ticks(),
        })
    }

    /// Reads the sensors after the timing.
    pub(crate) fn end(&self, begun: Begun) -> Around {
        let after = self.sensors.read(begun.ticks);
        Around {
            marks: condition::marks(&begun.before, &after, &self.pinning),
            before: begun.before,
            after,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use bitfront_model::Mark;

    use super::*;
    use crate::condition::tests::Device;

    fn watch(device: &Device, calm: Calm) -> Watch {
        let pinning = Pinning::held_for_test(&[1], &[0]);
        Watch::new(device.sensors(), pinning, calm)
    }

    /// Each pause is ten ticks, of which others use as many as the list says, then none.
    fn others(device: &Device, used: &[u64]) -> impl FnMut(Duration) {
        device.ticks(100, 100, 0, 0);
        let (mut idle, mut busy) = (100, 100);
        let mut used = used.iter().copied();
        move |_| {
            let now = used.next().unwrap_or(0);
            idle += 10 - now;
            busy += now;
            device.ticks(idle, busy, 0, 0);
        }
    }

    #[test]
    fn a_calm_device_is_timed_at_once_and_bears_no_mark() {
        let device = Device::new(&[]);
        let mut watch = watch(&device, Calm::default());
        let mut pauses = 0;
        let mut tick = others(&device, &[]);
        let begun = watch.begin(&mut |time| {
            pauses += 1;
            tick(time);
        });
        assert_eq!(pauses, 1);
        tick(WINDOW);
        let around = watch.end(begun.unwrap());
        assert_eq!(around.before.busy_cores, Some(0.0));
        assert_eq!(around.after.busy_cores, Some(0.0));
        assert_eq!(around.marks, []);
    }

    #[test]
    fn a_device_that_calms_down_is_waited_for() {
        let device = Device::new(&[]);
        let mut watch = watch(&device, Calm::default());
        let begun = watch.begin(&mut others(&device, &[9, 9, 9, 1])).unwrap();
        assert_eq!(begun.before.busy_cores, Some(0.1));
    }

    #[test]
    fn a_device_that_stays_busy_is_timed_and_marked_and_not_waited_for_again() {
        let device = Device::new(&[]);
        let calm = Calm {
            wait: WINDOW * 3,
            refuse: false,
        };
        let mut watch = watch(&device, calm);
        let mut tick = others(&device, &[9; 7]);
        let mut pauses = 0;
        for expected in [3, 4] {
            let begun = watch.begin(&mut |time| {
                pauses += 1;
                tick(time);
            });
            assert_eq!(pauses, expected);
            tick(WINDOW);
            let around = watch.end(begun.unwrap());
            assert_eq!(around.before.busy_cores, Some(0.9));
            assert_eq!(around.marks, [Mark::Busy]);
        }
    }

    #[test]
    fn a_busy_device_is_refused_where_that_is_asked_for_with_load_and_limit() {
        let device = Device::new(&[("proc/loadavg", "3.50 2.0 1.0 1/2 3")]);
        let calm = Calm {
            wait: WINDOW * 2,
            refuse: true,
        };
        let mut watch = watch(&device, calm);
        let mut tick = others(&device, &[9; 4]);
        for _ in 0..2 {
            let error = watch.begin(&mut tick).unwrap_err().to_string();
            for told in ["0.90", "0.2", "load average 3.5", "--refuse-busy"] {
                assert!(error.contains(told), "{told}: {error}");
            }
        }
        assert!(watch.begin(&mut tick).is_ok());
    }

    #[test]
    fn a_platform_that_counts_nothing_is_not_waited_for() {
        let device = Device::new(&[]);
        let mut watch = watch(&device, Calm::default());
        let begun = watch
            .begin(&mut |_| panic!("there is nothing to wait for"))
            .unwrap();
        assert_eq!(begun.before.busy_cores, None);
    }
}
