//! What the nodes say of themselves in `/metrics`: CPU time and memory. Owns how that is read; a node that shows none is no
//! error, since the figures of the clients do not need it. Read before, between and after by the scenarios.

use std::time::{Duration, Instant};

use hyper::Method;

use crate::http::{Http, HttpError};
use crate::target::Target;

/// The metrics of one node that count here.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Metrics {
    pub(crate) cpu_seconds: f64,
    pub(crate) resident_bytes: f64,
    pub(crate) connections: f64,
    /// The most connections that it takes.
    pub(crate) connections_limit: f64,
}

impl Metrics {
    /// Reads the text format of Prometheus; none if it has not all of them.
    fn read(text: &str) -> Option<Self> {
        let value = |name: &str| {
            let mut lines = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            lines.next()?.split_whitespace().next()?.parse::<f64>().ok()
        };
        Some(Self {
            cpu_seconds: value("process_cpu_seconds_total")?,
            resident_bytes: value("process_resident_memory_bytes")?,
            connections: value("chat_connections").unwrap_or(0.0),
            connections_limit: value("chat_connections_limit").unwrap_or(f64::INFINITY),
        })
    }
}

/// Where the nodes show their metrics.
#[derive(Debug, Clone)]
pub(crate) struct Nodes {
    targets: Vec<(Target, String)>,
}

/// Why a node shows no metrics.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MetricsError {
    /// It gave no answer.
    #[error("{0}: {1}")]
    Http(String, HttpError),
    /// It gave another answer.
    #[error("{0} answers {1}, without the metrics of a node")]
    None(String, u16),
}

impl Nodes {
    /// Nodes with their metrics at these paths.
    pub(crate) fn new(targets: Vec<(Target, String)>) -> Self {
        Self { targets }
    }

    /// Reads all nodes.
    ///
    /// # Errors
    /// One of them shows none.
    pub(crate) async fn read(&self, timeout: Duration) -> Result<Vec<Metrics>, MetricsError> {
        let mut all = Vec::with_capacity(self.targets.len());
        for (target, path) in &self.targets {
            let url = target.place.http(path);
            let asked = async {
                let mut http = Http::open(target, timeout).await?;
                http.ask(Method::GET, path, None, None).await
            };
            let (status, body) = asked.await.map_err(|error| MetricsError::Http(url.clone(), error))?;
            let metrics = std::str::from_utf8(&body).ok().filter(|_| status == 200).and_then(Metrics::read);
            all.push(metrics.ok_or(MetricsError::None(url, status))?);
        }
        Ok(all)
    }
}

/// What the nodes said at a moment.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) at: Instant,
    pub(crate) nodes: Vec<Metrics>,
}

/// How many cores all nodes together used, by their CPU times; and whether this is exact to a tenth. A node tells its CPU time in
/// whole seconds: so it is measured from the first change to the last one, where there are two.
pub(crate) fn cores(samples: &[Sample]) -> Option<(f64, bool)> {
    let (first, last) = (samples.first()?, samples.last()?);
    let span = last.at.duration_since(first.at).as_secs_f64();
    let (mut cores, mut is_exact) = (0.0, true);
    for node in 0..first.nodes.len() {
        let cpu = |sample: &Sample| sample.nodes.get(node).map_or(0.0, |metrics| metrics.cpu_seconds);
        let changes = samples.windows(2).filter(|pair| cpu(&pair[0]) != cpu(&pair[1])).map(|pair| &pair[1]);
        let (from, to) = (changes.clone().next(), changes.clone().next_back());
        match (from, to) {
            (Some(from), Some(to)) if to.at.duration_since(from.at).as_secs_f64() > 0.3 * span => {
                cores += (cpu(to) - cpu(from)) / to.at.duration_since(from.at).as_secs_f64();
            }
            _ => {
                cores += (cpu(last) - cpu(first)).max(0.0) / span.max(1e-9);
                is_exact = false;
            }
        }
    }
    Some((cores, is_exact))
}

/// The sum over all nodes.
pub(crate) fn sum(metrics: &[Metrics], of: impl Fn(&Metrics) -> f64) -> f64 {
    metrics.iter().map(of).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_read_from_the_text_of_prometheus() {
        let text = "# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total 1.5\n\
                    process_resident_memory_bytes 1048576\nchat_connections_limit 10\nchat_connections 3\n\
                    chat_deliveries_total{path=\"live\"} 7\n";
        let metrics = Metrics::read(text).unwrap();
        assert_eq!((metrics.cpu_seconds, metrics.resident_bytes), (1.5, 1_048_576.0));
        assert_eq!((metrics.connections, metrics.connections_limit), (3.0, 10.0));
        assert_eq!(sum(&[metrics, metrics], |metrics| metrics.cpu_seconds), 3.0);
        assert_eq!(Metrics::read("<html>"), None);
    }

    #[test]
    fn cpu_time_in_whole_seconds_is_measured_between_changes() {
        let start = Instant::now();
        // A node that uses 0.4 of a core, and one that does nothing.
        let sample = |quarter: u32| {
            let busy = (0.3 + 0.1 * f64::from(quarter)).floor();
            let nodes = [busy, 7.0].map(|cpu_seconds| Metrics { cpu_seconds, ..Metrics::default() });
            Sample { at: start + Duration::from_millis(250) * quarter, nodes: nodes.to_vec() }
        };
        let samples: Vec<Sample> = (0..40).map(sample).collect();
        let (both, is_exact) = cores(&samples).unwrap();
        assert!((both - 0.4).abs() < 0.03 && !is_exact, "{both}");
        let busy = |sample: &Sample| Sample { at: sample.at, nodes: sample.nodes[..1].to_vec() };
        let samples: Vec<Sample> = samples.iter().map(busy).collect();
        assert!(cores(&samples).unwrap().1);
        assert!(!cores(&samples[..4]).unwrap().1, "too short");
        assert_eq!(cores(&[]), None);
    }
}
