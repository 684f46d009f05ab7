//! Plugins whose place is gone.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::arrivals::is_of_dependencies;
use super::follower::Follower;
use super::guard::guarded;
use super::place::{Build, Key};
use crate::error::Error;
use crate::events::{Step, Subject};
use crate::history::Why;
use crate::inner::Inner;

/// A build whose place is gone, or is another plugin's now.
struct Leaving {
    /// The place, if nothing else stands there.
    key: Option<Key>,
    path: PathBuf,
    build: Build,
}

impl Follower {
    /// Unloads what was gone in an earlier look and still is.
    pub(super) fn depart(&mut self, host: &Inner, now: Instant) {
        if self.is_over(host) {
            return;
        }
        let mut leaving = self.take_leaving(now);
        loop {
            let before = leaving.len();
            let mut staying = Vec::new();
            for one in leaving {
                let what = format!("unloading `{}`", one.path.display());
                match guarded(host, &what, || self.leave(host, &one)) {
                    Some(Err(error)) => staying.push((one, error)),
                    Some(Ok(())) | None => self.forget(&one),
                }
            }
            // What left may be what another one waited for.
            if staying.is_empty() || staying.len() == before {
                for (one, error) in staying {
                    self.keep(host, one, &error);
                }
                return;
            }
            leaving = staying.into_iter().map(|(one, _)| one).collect();
        }
    }

    fn take_leaving(&mut self, now: Instant) -> Vec<Leaving> {
        let settle = self.options.settle;
        let mut leaving: Vec<Leaving> = Vec::new();
        for (number, root) in self.roots.iter_mut().enumerate() {
            let mut empty = Vec::new();
            for (name, place) in &root.places {
                let gone = place.gone_since();
                let gone = gone.map(|since| now.saturating_duration_since(since));
                if !gone.is_some_and(|gone| gone >= settle && !gone.is_zero()) {
                    continue;
                }
                match (&place.held, root.path_of(name)) {
                    (Some(build), Some(path)) => leaving.push(Leaving {
                        key: Some((number, name.clone())),
                        path,
                        build: build.clone(),
                    }),
                    _ => empty.push(name.clone()),
                }
            }
            root.places.retain(|name, _| !empty.contains(name));
        }
        let displaced = std::mem::take(&mut self.displaced).into_iter();
        leaving.extend(displaced.map(|(path, build)| Leaving {
            key: None,
            path,
            build,
        }));
        leaving
    }

    /// Unloads it, if it is still what stood there and stands nowhere else.
    ///
    /// # Errors
    ///
    /// What it is needed for.
    fn leave(&mut self, host: &Inner, leaving: &Leaving) -> Result<(), Error> {
        let name = leaving.build.name();
        let Some(plugin) = host.catalog.find(name.as_str()).cloned() else {
            return Ok(());
        };
        let Some(current) = plugin.current() else {
            return Ok(());
        };
        let is_from_there = current.digest() == Some(leaving.build.digest)
            || current.origin.starts_with(&leaving.path)
            || current.directory.as_deref() == Some(&leaving.path);
        drop(current);
        if !self.options.unload_removed || !is_from_there || self.stands_elsewhere(leaving) {
            return Ok(());
        }
        host.check_unload(name)?;
        match host.unload(&plugin, Why::Watched) {
            Err(error) if is_of_dependencies(&error) => Err(error),
            // What else goes wrong was told, and would again.
            _ => Ok(()),
        }
    }

    /// Whether the plugin stands at another place; one that waits for the name may have it now.
    fn stands_elsewhere(&mut self, leaving: &Leaving) -> bool {
        let (name, now) = (leaving.build.name(), Instant::now());
        let mut elsewhere = false;
        for place in self.places_mut() {
            if place.gone_since().is_some() {
                continue;
            }
            if place.claims.as_ref() == Some(name) {
                place.look_again_in(Duration::ZERO, now);
                elsewhere = true;
            }
            elsewhere |= place.held.as_ref().is_some_and(|held| held.name() == name);
        }
        elsewhere
    }

    fn forget(&mut self, leaving: &Leaving) {
        if let Some((root, name)) = &leaving.key
            && let Some(root) = self.roots.get_mut(*root)
        {
            root.places.remove(name);
        }
    }

    /// It is needed. Tells so, and looks again when it may not be any more.
    fn keep(&mut self, host: &Inner, leaving: Leaving, error: &Error) {
        let subject = Subject {
            path: Some(leaving.path.clone()),
            ..Subject::plugin(leaving.build.name())
        };
        match &leaving.key {
            Some(key) => {
                if let Some(place) = self.place(key) {
                    place.tell(host, Step::Unload, subject, error, None);
                }
            }
            None => self.displaced.push((leaving.path, leaving.build)),
        }
    }
}
