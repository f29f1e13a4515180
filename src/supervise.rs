//! Background tasks that a node can't work without. Owns the rule that the node drains and stops if one of them ends early,
//! by returning or by a panic; what they do is their own matter. The code that spawns such a task wraps it in this.

use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;

/// Runs `task`. If it ends before `stop` is cancelled, cancels `stop`: a node without this task must not go on serving.
pub(crate) fn critical<T: Future<Output = ()>>(
    name: &'static str,
    stop: &CancellationToken,
    task: T,
) -> impl Future<Output = ()> + use<T> {
    let fuse = Fuse { name, stop: stop.clone() };
    async move {
        // Dropped with the task, however that ends: after a panic, no code behind the await runs.
        let _fuse = fuse;
        task.await;
    }
}

/// Runs a task that never ends until `stop`, with the same rule.
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
    async fn task_that_ends_early_stops_the_node() {
        let stop = CancellationToken::new();
        critical("returns", &stop, async {}).await;
        assert!(stop.is_cancelled());

        let stop = CancellationToken::new();
        let panics = tokio::spawn(critical("panics", &stop, async { panic!("on purpose") }));
        assert!(panics.await.unwrap_err().is_panic());
        assert!(stop.is_cancelled());
    }
}
