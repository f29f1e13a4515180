//! Tasks that a node can't do without. Owns the rule that it drains and stops where one of them ends by itself, by
//! returning or by a panic; not what they do. Wrapped around them by whoever spawns one.

use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;

/// Runs `task`; where it ends before `stop` is cancelled, cancels it: a node that is half dead serves nobody well.
pub(crate) fn critical<T: Future<Output = ()>>(
    name: &'static str,
    stop: &CancellationToken,
    task: T,
) -> impl Future<Output = ()> + use<T> {
    let fuse = Fuse { name, stop: stop.clone() };
    async move {
        // Dropped with the task, however that ends: a panic passes by whatever stands behind an await.
        let _fuse = fuse;
        task.await;
    }
}

/// Runs what has no end of its own until `stop`, with the same rule.
pub(crate) fn until_stopped<T: Future<Output = ()>>(
    name: &'static str,
    stop: &CancellationToken,
    task: T,
) -> impl Future<Output = ()> + use<T> {
    critical(name, stop, stop.clone().run_until_cancelled_owned(task).map(drop))
}

struct Fuse {
    name: &'static str,
    stop: CancellationToken,
}

impl Drop for Fuse {
    fn drop(&mut self) {
        if !self.stop.is_cancelled() {
            tracing::error!(task = self.name, "a background task ended early; the node stops");
            self.stop.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_that_returns_or_panics_stops_the_node() {
        let stop = CancellationToken::new();
        critical("returns", &stop, async {}).await;
        assert!(stop.is_cancelled());

        let stop = CancellationToken::new();
        let panics = tokio::spawn(critical("panics", &stop, async { panic!("on purpose") }));
        assert!(panics.await.unwrap_err().is_panic());
        assert!(stop.is_cancelled());
    }
}
