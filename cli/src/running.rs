//! Hosts that run, and which of them is meant.

use std::path::PathBuf;

use clap::Args;
use plg_host::control::{self, RunningHost};

use crate::problem::Problem;

/// Where a host is looked for.
#[derive(Debug, Args)]
pub(crate) struct Place {
    /// Only the host with this process number
    #[arg(long, value_name = "PID")]
    host: Option<u32>,
    /// Look for hosts in this directory, for an app that has a run directory of its own
    #[arg(long, value_name = "DIR", env = "PLG_RUN_DIR")]
    run_dir: Option<PathBuf>,
}

impl Place {
    /// The hosts that answer.
    pub(crate) fn hosts(&self) -> Result<Vec<RunningHost>, Problem> {
        let mut hosts = control::hosts(self.run_dir.as_deref());
        if let Some(pid) = self.host {
            hosts.retain(|host| host.pid() == pid);
            if hosts.is_empty() {
                let detail = format!("no host with the process number {pid} can be asked");
                return Err(Problem::new("control.no_host", detail));
            }
        }
        Ok(hosts)
    }

    /// The host that has the plugin of that name loaded.
    pub(crate) fn host_of(&self, name: &str) -> Result<RunningHost, Problem> {
        let mut having = Vec::new();
        let mut known = Vec::new();
        for host in self.hosts()? {
            // One that does not answer has nothing that could be asked for.
            let Ok(report) = host.report() else { continue };
            if report.plugins.iter().any(|plugin| plugin.name == name) {
                having.push(host);
            }
            known.extend(report.plugins.into_iter().map(|plugin| plugin.name));
        }
        match having.as_slice() {
            [host] => Ok(host.clone()),
            [] => {
                known.sort();
                known.dedup();
                let detail = format!("no host that can be asked has a plugin `{name}`");
                let problem = Problem::new("control.no_host", detail);
                Err(match known.as_slice() {
                    [] => problem,
                    known => problem.help(format!("there are {}", known.join(", "))),
                })
            }
            several => {
                let pids = several.iter().map(|host| host.pid().to_string());
                let pids: Vec<String> = pids.collect();
                let detail = format!("the hosts {} have a plugin `{name}`", pids.join(", "));
                Err(Problem::new("control.several", detail))
            }
        }
    }
}
