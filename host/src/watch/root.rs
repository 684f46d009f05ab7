//! One plugin directory: there, lost or back.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::picture::Identity;
use super::place::{Libraries, Place};
use crate::discovery::{self, DiscoverError, Rules};
use crate::error::Error;
use crate::events::{Phase, Step, Subject};
use crate::inner::Inner;

/// A plugin directory and its places.
#[derive(Debug)]
pub(super) struct Root {
    /// As the app named it.
    path: PathBuf,
    /// Where it really is, and which directory that is.
    here: Option<(PathBuf, Identity)>,
    /// It was there, and is not any more.
    is_lost: bool,
    /// A hook objected to it.
    is_vetoed: bool,
    /// What was told of it last.
    told: Option<String>,
    pub(super) places: BTreeMap<OsString, Place>,
}

impl Root {
    /// Where it really is, while it is there.
    pub(super) fn real(&self) -> Option<&Path> {
        self.here.as_ref().map(|(path, _)| path.as_path())
    }

    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            here: None,
            is_lost: false,
            is_vetoed: false,
            told: None,
            places: BTreeMap::new(),
        }
    }

    /// Whether it is not there, so that there can be no events of it.
    pub(super) fn is_missing(&self) -> bool {
        self.here.is_none()
    }

    /// Where a place of it is, while it is there itself.
    pub(super) fn path_of(&self, place: &OsStr) -> Option<PathBuf> {
        let (here, _) = self.here.as_ref()?;
        Some(here.join(place))
    }

    /// Takes the picture of each place. Adds the directories in which something can happen to `wanted`.
    pub(super) fn look(&mut self, host: &Inner, wanted: &mut BTreeSet<PathBuf>, now: Instant) {
        match find(&self.path, &host.setup.discovery) {
            Ok((real, identity, children)) => {
                wanted.insert(real.clone());
                let is_new = self.arrive(host, real, identity);
                if self.is_vetoed {
                    return;
                }
                self.see(&children, &host.setup.discovery, wanted, now);
                if is_new {
                    host.hooks.tell(Step::Discover, Phase::Done, None, || {
                        let places = self.places.len();
                        (self.subject(), format!("{places} places are watched"))
                    });
                }
            }
            Err(problem) if is_out_of_reach(&problem) => {
                self.tell(host, problem);
                self.places.values_mut().for_each(Place::is_out_of_sight);
            }
            Err(problem) => self.lose(host, problem),
        }
    }

    /// It is there. Says whether it was not, or was another directory.
    fn arrive(&mut self, host: &Inner, real: PathBuf, identity: Identity) -> bool {
        self.told = None;
        let before = self.here.replace((real.clone(), identity));
        // A link that was turned shows what is wanted from now on. A directory that was made anew, or over
        // which a file system was mounted, does not show that somebody removed what it lacks.
        let is_another = before
            .as_ref()
            .is_some_and(|(path, before)| *path == real && !before.is_same(&identity));
        if is_another {
            self.say_lost(host, "another directory stands there now");
        }
        if is_another || self.is_lost {
            self.is_lost = false;
            self.notice(host, "dir.back", "it is watched again");
        }
        let is_new = is_another || before.is_none();
        if is_new {
            self.ask(host);
        }
        is_new
    }

    fn ask(&mut self, host: &Inner) {
        let subject = self.subject();
        let outcome = host.ask(Step::Discover, &subject);
        self.is_vetoed = outcome.is_err();
        if let Err(error) = outcome {
            tracing::warn!("`{}` is passed over: {error}", self.path.display());
            host.failed(Step::Discover, subject, &error);
        }
    }

    fn see(
        &mut self,
        children: &[PathBuf],
        rules: &Rules,
        wanted: &mut BTreeSet<PathBuf>,
        now: Instant,
    ) {
        let mut there: BTreeSet<&OsStr> = BTreeSet::new();
        for path in children {
            let Some(name) = path.file_name() else {
                continue;
            };
            match self.see_child(path, name, rules, wanted, now) {
                Ok(true) => {
                    there.insert(name);
                }
                Ok(false) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                // What cannot be looked at was not removed.
                Err(_) => {
                    there.insert(name);
                }
            }
        }
        for (name, place) in &mut self.places {
            if !there.contains(name.as_os_str()) {
                place.is_gone(now);
            }
        }
    }

    /// Whether something stands there that is or may become a plugin.
    fn see_child(
        &mut self,
        path: &Path,
        name: &OsStr,
        rules: &Rules,
        wanted: &mut BTreeSet<PathBuf>,
        now: Instant,
    ) -> io::Result<bool> {
        let metadata = fs::symlink_metadata(path)?;
        if metadata.is_dir() {
            wanted.insert(path.to_owned());
        }
        let mut new = Libraries::default();
        let known = self.places.get_mut(name);
        let libraries = match known {
            Some(place) => place.libraries(),
            None => &mut new,
        };
        let Some(picture) = libraries.picture(path, &metadata, rules)? else {
            return Ok(false);
        };
        wanted.extend(libraries.directories().map(Path::to_owned));
        match self.places.get_mut(name) {
            Some(place) => place.is_there(picture, now),
            None => {
                let place = Place::new(picture, new, now);
                self.places.insert(name.to_owned(), place);
            }
        }
        Ok(true)
    }

    /// It is not there, or cannot be read. What is loaded from it stays loaded.
    fn lose(&mut self, host: &Inner, problem: DiscoverError) {
        let Some(_) = self.here.take() else {
            if !self.is_lost {
                self.tell(host, problem);
            }
            return;
        };
        self.is_lost = true;
        self.say_lost(host, &Error::from(problem).in_full());
    }

    fn say_lost(&mut self, host: &Inner, why: &str) {
        self.notice(host, "dir.lost", &format!("{why}; its plugins stay loaded"));
        self.places.values_mut().for_each(Place::forget_presence);
    }

    /// Tells what is wrong with it, once.
    fn tell(&mut self, host: &Inner, problem: DiscoverError) {
        let error = Error::from(problem);
        let text = error.in_full();
        if self.told.as_ref() != Some(&text) {
            tracing::warn!("`{}` is passed over: {text}", self.path.display());
            self.told = Some(text);
            host.failed(Step::Discover, self.subject(), &error);
        }
    }

    fn notice(&self, host: &Inner, code: &'static str, message: &str) {
        tracing::warn!(code, "`{}`: {message}", self.path.display());
        host.hooks.tell(Step::Notice, Phase::Done, Some(code), || {
            (self.subject(), message.to_owned())
        });
    }

    fn subject(&self) -> Subject {
        Subject {
            path: Some(self.path.clone()),
            ..Subject::default()
        }
    }
}

/// Whether it is there all the same, and this process only has no means to look, or may not.
fn is_out_of_reach(problem: &DiscoverError) -> bool {
    problem.code() == "io.emfile" || matches!(problem, DiscoverError::Unsafe { .. })
}

type Here = (PathBuf, Identity, Vec<PathBuf>);

/// Where the directory is, which one that is, and what is in it.
fn find(path: &Path, rules: &Rules) -> Result<Here, DiscoverError> {
    let real = discovery::check_base(path, rules)?;
    let metadata = fs::metadata(&real).map_err(|source| DiscoverError::Read {
        path: real.clone(),
        source,
    })?;
    let children = discovery::children(&real)?;
    Ok((real, Identity::new(&metadata), children))
}
