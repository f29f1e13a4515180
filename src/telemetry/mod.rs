//! Log lines and the metrics page. Owns the subscriber and the recorder, one of each per process; each layer logs and
//! counts for itself. Called by the command and by the server.

mod log;
mod log_writer;
#[cfg(target_os = "linux")]
mod process;
mod repeat_limit;

/// The metrics of this process on other systems.
#[cfg(not(target_os = "linux"))]
mod process {
    use metrics_process::Collector;

    pub(super) fn describe() {
        Collector::default().describe();
    }

    pub(super) fn collect() {
        Collector::default().collect();
    }
}

use std::sync::OnceLock;
use std::time::Duration;

use metrics::{counter, gauge};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

pub use self::log::{LogGuard, flush_logs, install_logs, set_log_filter};
use crate::metrics::{
    LOG_LINES_DROPPED, RUNTIME_BUSY, RUNTIME_QUEUE, RUNTIME_TASKS, RUNTIME_WORKERS, SECONDS_BUCKETS, register,
};

/// The recorder of metrics for this process, with every metric of chatnode registered. The first call installs it.
pub fn install_recorder() -> PrometheusHandle {
    static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();
    RECORDER
        .get_or_init(|| {
            // Without buckets, the exporter would create summaries, which can't be aggregated over nodes.
            let handle = PrometheusBuilder::new()
                .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS_BUCKETS)
                .expect("the buckets are a constant that is not empty")
                .install_recorder()
                .expect("nothing else in this program installs a recorder");
            register();
            process::describe();
            handle
        })
        .clone()
}

/// The metrics page in Prometheus' text format, with the current values of the process and of the calling runtime.
pub fn render(handle: &PrometheusHandle) -> String {
    process::collect();
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        let figures = runtime.metrics();
        gauge!(RUNTIME_WORKERS).set(figures.num_workers() as f64);
        let busy: Duration =
            (0..figures.num_workers()).map(|at| figures.worker_total_busy_duration(at)).sum();
        counter!(RUNTIME_BUSY).absolute(busy.as_secs());
        gauge!(RUNTIME_TASKS).set(figures.num_alive_tasks() as f64);
        gauge!(RUNTIME_QUEUE).set(figures.global_queue_depth() as f64);
    }
    for (reason, lines) in log::dropped_lines() {
        counter!(LOG_LINES_DROPPED, "reason" => reason).absolute(lines);
    }
    handle.render()
}

#[cfg(test)]
mod tests {
    use metrics::{counter, histogram};

    use super::*;

    #[tokio::test]
    async fn page_has_every_kind_of_metric() {
        let first = install_recorder();
        let second = install_recorder();
        counter!("page_test_total").increment(2);
        histogram!("page_test_seconds").record(0.003);
        let page = render(&second);
        for line in [
            "# TYPE page_test_total counter",
            "page_test_total 2",
            "# TYPE page_test_seconds histogram",
            "page_test_seconds_bucket{le=\"0.0025\"} 0",
            "page_test_seconds_bucket{le=\"0.005\"} 1",
            "# TYPE chat_rejections_total counter",
            "chat_runtime_workers 1",
            "chat_runtime_busy_seconds_total 0",
            concat!("chat_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
        ] {
            assert!(page.lines().any(|found| found == line), "{line} is not in\n{page}");
        }
        for name in [
            "chat_rejections_total{scope=\"size\"}",
            "process_cpu_seconds_total",
            "process_open_fds",
            "process_max_fds",
            "process_virtual_memory_bytes",
            "process_virtual_memory_max_bytes",
            "process_resident_memory_bytes",
            "process_start_time_seconds",
            "process_threads",
        ] {
            assert!(page.contains(&format!("\n{name} ")), "{name} is not in\n{page}");
        }
        assert!(render(&first).contains("page_test_total 2"), "both handles share one recorder");
    }
}
