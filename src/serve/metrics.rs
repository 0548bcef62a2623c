//! What the server has done so far, in numbers.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters, which any thread adds to.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    requests: [AtomicU64; 6],
    sent: AtomicU64,
    fetches: AtomicU64,
    fetched: AtomicU64,
    evicted: AtomicU64,
    held: AtomicU64,
    connections: AtomicU64,
}

impl Metrics {
    /// A request was answered, with a status and so many bytes.
    pub fn answered(&self, status: u16, bytes: u64) {
        let class = usize::from(status / 100).min(self.requests.len() - 1);
        self.requests[class].fetch_add(1, Ordering::Relaxed);
        self.sent.fetch_add(bytes, Ordering::Relaxed);
    }

    /// A piece of content of so many bytes is fetched from a registry.
    pub fn fetched(&self, bytes: u64) {
        self.fetches.fetch_add(1, Ordering::Relaxed);
        self.fetched.fetch_add(bytes, Ordering::Relaxed);
    }

    /// So many pieces of content went out of the cache.
    pub fn evicted(&self, count: u64) {
        self.evicted.fetch_add(count, Ordering::Relaxed);
    }

    /// The cache has so many bytes.
    pub fn holds(&self, bytes: u64) {
        self.held.store(bytes, Ordering::Relaxed);
    }

    /// A client has come.
    pub fn connected(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    /// A client has gone.
    pub fn disconnected(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }

    /// All of them as Prometheus reads them (text format 0.0.4).
    pub fn text(&self) -> String {
        let mut text = String::new();
        let mut family = |name: &str, kind: &str, help: &str, samples: &[(String, u64)]| {
            text.push_str(&format!("# HELP osimage_{name} {help}\n# TYPE osimage_{name} {kind}\n"));
            for (labels, value) in samples {
                text.push_str(&format!("osimage_{name}{labels} {value}\n"));
            }
        };
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let plain = |counter| [(String::new(), load(counter))];
        let classes = self.requests.iter().enumerate().skip(1);
        let requests: Vec<_> = classes
            .map(|(class, count)| (format!("{{code=\"{class}xx\"}}"), load(count)))
            .collect();
        family("requests_total", "counter", "Requests, by the class of their status.", &requests);
        family("sent_bytes_total", "counter", "Bytes of answers.", &plain(&self.sent));
        family(
            "fetches_total",
            "counter",
            "Layers fetched from registries.",
            &plain(&self.fetches),
        );
        family("fetched_bytes_total", "counter", "Their sizes.", &plain(&self.fetched));
        family("evicted_total", "counter", "Layers that left the cache.", &plain(&self.evicted));
        family("cache_bytes", "gauge", "What the cache has.", &plain(&self.held));
        family("connections", "gauge", "Open connections.", &plain(&self.connections));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_has_a_help_and_a_type() {
        let metrics = Metrics::default();
        metrics.answered(200, 10);
        metrics.answered(404, 5);
        let text = metrics.text();
        assert!(text.contains("\nosimage_requests_total{code=\"2xx\"} 1\n"), "{text}");
        assert!(text.contains("\nosimage_sent_bytes_total 15\n"), "{text}");
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let name = line.split(['{', ' ']).next().unwrap();
            assert!(text.contains(&format!("# TYPE {name} ")), "{line}");
            assert!(line.rsplit_once(' ').unwrap().1.parse::<u64>().is_ok(), "{line}");
        }
    }
}
