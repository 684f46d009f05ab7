//! One look at all directories, and when the next one is due.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use plg_packaging::{Digest, PluginName};

use super::arrivals::Arrival;
use super::bell::{Bell, Patience};
use super::guard::guarded;
use super::options::WatchOptions;
use super::place::{Build, Key, LONGER, Next, Place};
use super::root::Root;
use super::sentries::Sentries;
use crate::events::{Phase, Step, Subject};
use crate::inner::Inner;

/// What a watch knows of its directories.
pub(super) struct Follower {
    pub(super) options: WatchOptions,
    bell: Arc<Bell>,
    sentries: Sentries,
    pub(super) roots: Vec<Root>,
    /// Builds whose place holds another plugin by now.
    pub(super) displaced: Vec<(PathBuf, Build)>,
    /// Which builds were in service when those that wait for others were tried.
    loaded: Vec<(PluginName, u64)>,
    next: Option<Instant>,
    /// Whether no events come of some of what is to be seen.
    is_polling: bool,
    /// Whether that was told.
    told_polling: bool,
    is_begun: bool,
}

/// How often is looked where no events can come, if nothing else is asked for.
const POLL: Duration = Duration::from_secs(2);

impl Follower {
    pub(super) fn new(options: WatchOptions, bell: Arc<Bell>) -> Self {
        Self {
            options,
            sentries: Sentries::new(bell.clone()),
            bell,
            roots: Vec::new(),
            displaced: Vec::new(),
            loaded: Vec::new(),
            next: None,
            is_polling: false,
            told_polling: false,
            is_begun: false,
        }
    }

    /// When to look again though nothing happens.
    pub(super) fn next_look(&self) -> Option<Instant> {
        self.next
    }

    /// How long a burst of events is waited out.
    pub(super) fn patience(&self) -> Patience {
        Patience {
            quiet: self.options.settle / 4,
            longest: self.options.settle.saturating_mul(LONGER),
        }
    }

    /// Does nothing for a while.
    pub(super) fn rest_for(&mut self, while_: Duration) {
        self.next = Instant::now().checked_add(while_);
    }

    /// Looks at everything, and does what follows from it.
    pub(super) fn look(&mut self, host: &Inner) {
        if !self.is_begun {
            let directories = host.setup.directories.iter();
            self.roots = directories.map(|path| Root::new(path.clone())).collect();
            self.is_begun = true;
        }
        let now = Instant::now();
        let mut wanted = BTreeSet::new();
        for root in &mut self.roots {
            root.look(host, &mut wanted, now);
        }
        self.post(host, &wanted);
        self.wake(host, now);
        let arrivals = self.read(host, now);
        self.arrive(host, arrivals);
        self.depart(host, now);
        self.plan_next(host, now);
    }

    pub(super) fn place(&mut self, (root, name): &Key) -> Option<&mut Place> {
        self.roots.get_mut(*root)?.places.get_mut(name)
    }

    pub(super) fn places(&self) -> impl Iterator<Item = &Place> {
        self.roots.iter().flat_map(|root| root.places.values())
    }

    /// Whether nothing is to be begun any more.
    pub(super) fn is_over(&self, host: &Inner) -> bool {
        self.bell.is_over() || host.check_open().is_err()
    }

    pub(super) fn places_mut(&mut self) -> impl Iterator<Item = &mut Place> {
        let roots = self.roots.iter_mut();
        roots.flat_map(|root| root.places.values_mut())
    }

    /// Has the directories watched in which something can happen.
    fn post(&mut self, host: &Inner, wanted: &BTreeSet<PathBuf>) {
        let posted = self.sentries.post(wanted);
        if posted.is_new {
            // What happened there before it was watched is seen by one more look.
            self.bell.ring_at_once();
        }
        self.is_polling = posted.trouble.is_some();
        let Some(trouble) = posted.trouble else {
            return;
        };
        if !std::mem::replace(&mut self.told_polling, true) {
            let every = self.options.rescan.unwrap_or(POLL);
            let message = format!("{trouble}; the directories are looked through every {every:?}");
            tracing::warn!("{message}");
            let code = Some("watch.polling");
            host.hooks.tell(Step::Notice, Phase::Done, code, || {
                (Subject::default(), message)
            });
        }
    }

    /// Has places tried again though nothing changed there.
    fn wake(&mut self, host: &Inner, now: Instant) {
        if self.places().any(|place| place.waits_for_others) {
            let loaded = loaded(host);
            if loaded != self.loaded {
                self.loaded = loaded;
                let waiting = self.places_mut().filter(|place| place.waits_for_others);
                waiting.for_each(|place| place.look_again_in(Duration::ZERO, now));
            }
        }
        for place in self.places_mut() {
            if let Some(failed) = &place.failed
                && failed.quarantined
                && !is_quarantined(host, &failed.build.digest)
            {
                place.failed = None;
                place.look_again_in(Duration::ZERO, now);
            }
            // A build that was taken back is tried again later.
            if let (Next::Change, Some(held)) = (place.next, &place.held)
                && let Some(left) = host.failed_builds.left(&held.digest)
                && host.serving(held.name()) != Some(held.digest)
            {
                place.look_again_in(left, now);
            }
        }
    }

    /// Reads the places that have come to rest.
    fn read(&mut self, host: &Inner, now: Instant) -> Vec<Arrival> {
        let settle = match host.setup.faults.unsettled {
            true => Duration::ZERO,
            false => self.options.settle,
        };
        let (mut arrivals, mut kept) = (Vec::new(), 0);
        for (number, root) in self.roots.iter_mut().enumerate() {
            let due: Vec<_> = root
                .places
                .iter_mut()
                .filter_map(|(name, place)| place.is_due(settle, now).then(|| name.clone()))
                .collect();
            for name in due {
                let (Some(path), Some(place)) = (root.path_of(&name), root.places.get_mut(&name))
                else {
                    continue;
                };
                if self.bell.is_over() {
                    return arrivals;
                }
                let what = format!("reading `{}`", path.display());
                match guarded(host, &what, || place.read(host, &path, &self.options, now)) {
                    Some(Some(found)) => {
                        arrivals.push(Arrival::new((number, name), path, found, &mut kept));
                    }
                    Some(None) => {}
                    None => place.rest(),
                }
            }
        }
        arrivals
    }

    fn plan_next(&mut self, host: &Inner, now: Instant) {
        let places = self.places().filter_map(|place| match place.next {
            _ if place.gone_since().is_some() => None,
            Next::At(at) => Some(at),
            Next::Change => None,
        });
        let gone = self.places().filter_map(Place::gone_since);
        let gone = gone.filter_map(|since| since.checked_add(self.options.settle));
        // What stays though it is gone is looked at with everything else.
        let gone = gone.filter(|at| *at > now);
        let no_events = self.is_polling || self.roots.iter().any(Root::is_missing);
        let regular = match (host.setup.faults.no_rescan, self.options.rescan) {
            (true, _) => None,
            (false, Some(every)) => Some(every),
            (false, None) => no_events.then_some(POLL),
        };
        let regular = regular.and_then(|every| now.checked_add(every));
        self.next = places.chain(gone).chain(regular).min();
        if self.places().any(|place| place.waits_for_others) && loaded(host) != self.loaded {
            self.bell.ring_at_once();
        }
    }
}

pub(super) fn is_quarantined(host: &Inner, digest: &Digest) -> bool {
    let quarantine = &host.setup.loader.quarantine;
    quarantine.contains(digest).is_some()
}

/// Which build of each plugin is in service.
fn loaded(host: &Inner) -> Vec<(PluginName, u64)> {
    let plugins = host.catalog.all();
    let current = plugins.iter().filter_map(|plugin| {
        let current = plugin.current()?;
        Some((plugin.name().clone(), current.number))
    });
    current.collect()
}

impl Inner {
    /// The digest of the build of that plugin that is in service.
    pub(super) fn serving(&self, name: &PluginName) -> Option<Digest> {
        let plugin = self.catalog.find(name.as_str())?;
        plugin.current()?.digest()
    }
}
