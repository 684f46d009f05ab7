//! A watch, and the thread behind it.

use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::bell::Bell;
use super::follower::Follower;
use super::options::WatchOptions;
use crate::error::Error;
use crate::events::{Phase, Step, Subject};
use crate::host::HostError;
use crate::inner::Inner;

/// Follows the plugin directories of a host until it is dropped, which waits for what is being loaded. It
/// ends by itself when the host is shut down.
///
/// Made by [`Host::watch`](crate::Host::watch).
#[must_use = "dropping it ends the watch"]
pub struct Watch {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    bell: Arc<Bell>,
    looks: AtomicU64,
}

/// After a mistake of ours, nothing is tried again sooner than this.
const AFTER_A_PANIC: Duration = Duration::from_secs(1);

impl Watch {
    /// Begins to follow the host's directories.
    pub(crate) fn begin(host: &Weak<Inner>, options: WatchOptions) -> Result<Self, Error> {
        let shared = Arc::<Shared>::default();
        let follow = {
            let (host, shared) = (host.clone(), shared.clone());
            move || follow(&host, &shared, options)
        };
        let thread = thread::Builder::new()
            .name("plg-watch".to_owned())
            .spawn(follow)
            .map_err(|source| HostError::Thread {
                what: "a watch",
                source,
            })?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Has the directories looked through now, without waiting for an event. What stands there still has
    /// to come to rest before it is taken.
    pub fn rescan_now(&self) {
        self.shared.bell.ring_at_once();
    }

    /// How often the directories were looked through so far.
    #[must_use]
    pub fn looks(&self) -> u64 {
        self.shared.looks.load(Ordering::Relaxed)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.bell.end();
        if let Some(thread) = self.thread.take()
            // Code of the app runs there too, such as the filter.
            && thread.thread().id() != thread::current().id()
        {
            // It catches its own panics.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("looks", &self.looks())
            .finish_non_exhaustive()
    }
}

/// Looks again and again, until the watch or the host ends.
fn follow(host: &Weak<Inner>, shared: &Shared, options: WatchOptions) {
    let mut follower = Follower::new(options, shared.bell.clone());
    loop {
        {
            let Some(host) = host.upgrade().filter(|host| host.check_open().is_ok()) else {
                return;
            };
            if guarded(&host, "a look", || follower.look(&host)).is_none() {
                follower.rest_for(AFTER_A_PANIC);
            }
        }
        shared.looks.fetch_add(1, Ordering::Relaxed);
        if !shared.bell.wait(follower.next_look(), follower.patience()) {
            return;
        }
    }
}

/// Does something that must not end the watch, whatever happens in it. `None` when it panicked.
pub(super) fn guarded<T>(host: &Inner, what: &str, act: impl FnOnce() -> T) -> Option<T> {
    let payload = match panic::catch_unwind(AssertUnwindSafe(act)) {
        Ok(done) => return Some(done),
        Err(payload) => payload,
    };
    let words = payload
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| payload.downcast_ref::<String>().cloned());
    let message = format!(
        "{what} of the watch panicked: {}",
        words.unwrap_or_default()
    );
    // Its drop could panic as well.
    std::mem::forget(payload);
    tracing::error!("{message}");
    let code = Some("host.panicked");
    host.hooks.tell(Step::Notice, Phase::Failed, code, || {
        (Subject::default(), message)
    });
    None
}
