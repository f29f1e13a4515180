//! `chatnode health`: a probe for containers without a shell. Owns the request and the exit code; the node decides
//! whether it is ready. Called by the command.

use std::process::ExitCode;
use std::time::Duration;

use hyper::Method;

use super::api::Api;
use super::output::{MISUSE, block_on, load, print, print_error, unwritten};
use crate::config::Flags;

/// The node and the probe.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// The URL of the node [default: the node with these settings on this machine]
    #[arg(long)]
    url: Option<String>,
    /// Check whether the node is alive (/healthz) instead of ready (/readyz)
    #[arg(long)]
    live: bool,
    /// How long to wait for the answer
    #[arg(long, default_value = "3s", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

pub(super) fn run(flags: &Flags, options: &Options) -> ExitCode {
    let mut config = match load(flags) {
        Ok(loaded) => loaded.config,
        Err(code) => return code,
    };
    // The probes need no key, so the key is not sent to an unknown listener.
    config.auth.admin_key = None;
    let api = match Api::new(options.url.as_deref(), &config, options.timeout) {
        Ok(api) => api,
        Err(error) => {
            print_error(&error);
            return ExitCode::from(MISUSE);
        }
    };
    let path = if options.live { "/healthz" } else { "/readyz" };
    block_on(async {
        match api.send(Method::GET, path, None).await {
            Ok((status, _)) if status.is_success() => {
                // The exit code is about the node: a full disk of the caller must not make it look broken.
                if let Err(error) = print("ok\n") {
                    print_error(&unwritten(&error));
                }
                ExitCode::SUCCESS
            }
            Ok((status, body)) => {
                print_error(&format_args!("{path}: {status}: {}", String::from_utf8_lossy(&body).trim()));
                ExitCode::FAILURE
            }
            Err(error) => {
                print_error(&error);
                ExitCode::FAILURE
            }
        }
    })
}
