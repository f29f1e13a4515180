//! The search for the highest load at which a demand is met. Owns which load is tried next; carries nothing out. Driven by
//! `main`, one step after the other.

/// The result is so exact: the lowest load that failed is at most this much higher than the highest that held.
const PRECISION: f64 = 1.1;

/// The most steps.
const MAX_STEPS: usize = 24;

/// A search.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Search {
    held: Option<f64>,
    failed: Option<f64>,
    next: f64,
    steps: usize,
    /// The highest load that makes sense.
    most: f64,
}

impl Search {
    /// Begins with this load, and never goes above `most`.
    pub(crate) fn new(start: f64, most: f64) -> Self {
        Self {
            held: None,
            failed: None,
            next: start.clamp(1.0, most.max(1.0)),
            steps: 0,
            most: most.max(1.0),
        }
    }

    /// The load to be tried next; none if the search is over.
    pub(crate) fn next(&self) -> Option<f64> {
        let is_exact = match (self.held, self.failed) {
            (Some(held), Some(failed)) => failed / held <= PRECISION || failed - held <= 1.0,
            (Some(held), None) => held >= self.most,
            (None, Some(failed)) => failed <= 1.0,
            (None, None) => false,
        };
        (!is_exact && self.steps < MAX_STEPS).then_some(self.next)
    }

    /// Notes whether the demand was met at the load that was tried.
    pub(crate) fn note(&mut self, is_held: bool) {
        self.steps += 1;
        if is_held {
            self.held = Some(self.next);
        } else {
            self.failed = Some(self.next);
        }
        self.next = match (self.held, self.failed) {
            (Some(held), Some(failed)) => (held + failed) / 2.0,
            (Some(held), None) => (held * 2.0).min(self.most),
            (None, Some(failed)) => (failed / 2.0).max(1.0),
            (None, None) => self.next,
        };
        // Whole numbers are easier to repeat.
        self.next = self.next.round().max(1.0);
    }

    /// The highest load that held.
    pub(crate) fn found(&self) -> Option<f64> {
        self.held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The result for nodes that hold up to a limit, and the loads that were tried.
    fn search(start: f64, most: f64, limit: f64) -> (Option<f64>, Vec<f64>) {
        let (mut search, mut tried) = (Search::new(start, most), Vec::new());
        while let Some(load) = search.next() {
            tried.push(load);
            search.note(load <= limit);
        }
        (search.found(), tried)
    }

    #[test]
    fn the_limit_is_found_from_below_and_from_above() {
        for (start, limit) in [(100.0, 3_217.0), (100_000.0, 3_217.0), (100.0, 7.0), (1.0, 1e6)] {
            let (found, tried) = search(start, f64::INFINITY, limit);
            let found = found.unwrap();
            assert!(
                found <= limit && (found * 1.11 > limit || limit - found < 2.0),
                "{found} for {limit}: {tried:?}"
            );
        }
        assert_eq!(search(100.0, f64::INFINITY, 390.0).1[..4], [100.0, 200.0, 400.0, 300.0]);
    }

    #[test]
    fn a_search_ends_without_a_limit_and_without_a_result() {
        assert_eq!(
            search(100.0, 1_000.0, f64::INFINITY),
            (Some(1_000.0), vec![100.0, 200.0, 400.0, 800.0, 1_000.0])
        );
        let (found, tried) = search(100.0, f64::INFINITY, 0.0);
        assert_eq!((found, tried.last()), (None, Some(&1.0)));
        assert!(search(1.0, f64::INFINITY, f64::INFINITY).1.len() <= MAX_STEPS);
    }
}
