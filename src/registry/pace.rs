//! The lowest speed: what drips without ever standing still is given up too.

use std::time::Duration;

/// How fast something moves while somebody waits for it. Time in which nobody waits does not count:
/// a slow disk, or a slow registry at the other end of a copy, is not this connection's fault.
pub(super) struct Pace {
    /// In bytes a second.
    least: u64,
    window: Duration,
    waited: Duration,
    moved: u64,
}

impl Pace {
    /// Wants `least` bytes a second, averaged over `window`.
    pub fn new(least: u64, window: Duration) -> Self {
        Pace { least, window, waited: Duration::ZERO, moved: 0 }
    }

    /// What it wants, in bytes a second.
    pub fn least(&self) -> u64 {
        self.least
    }

    /// Counts so many bytes that moved while somebody waited so long. Tells whether that is fast
    /// enough.
    pub fn keeps(&mut self, waited: Duration, moved: u64) -> bool {
        self.waited += waited;
        self.moved += moved;
        if self.waited < self.window {
            return true;
        }
        let needed = self.least as f64 * self.waited.as_secs_f64();
        let enough = self.moved as f64 >= needed;
        (self.waited, self.moved) = (Duration::ZERO, 0);
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_drips_is_too_slow() {
        let drip = |seconds: f64, bytes: u64| {
            let mut pace = Pace::new(1000, Duration::from_secs(60));
            (0..1000).all(|_| pace.keeps(Duration::from_secs_f64(seconds), bytes))
        };
        for (seconds, bytes, keeps) in [
            (20.0, 1, false),
            (1.0, 900, false),
            (1.0, 1001, true),
            (59.0, 60_000, true),
            // Nobody waited.
            (0.0, 1, true),
            (1e-9, 1, true),
        ] {
            assert_eq!(drip(seconds, bytes), keeps, "{bytes} bytes every {seconds} s");
        }
        // A pause in what is fast otherwise is none.
        let mut pace = Pace::new(1000, Duration::from_secs(60));
        assert!(
            (0..100)
                .all(|n| pace.keeps(Duration::from_secs(1), if n % 10 == 0 { 50_000 } else { 0 }))
        );
    }
}
