//! One place of a plugin directory: when it is read, and what became of what stood there.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use plg_packaging::{Digest, Manifest, PluginName};

use super::options::WatchOptions;
use super::picture::{Identity, Picture, Stamp};
use crate::discovery::{self, MANIFEST, Rules};
use crate::error::Error;
use crate::events::{Step, Subject};
use crate::inner::Inner;

/// Which plugin directory, and which name in it.
pub(super) type Key = (usize, OsString);

/// What keeps failing is told once it has rested for this many times [`WatchOptions::settle`]: until then
/// it may be half of something that is being written.
pub(super) const LONGER: u32 = 10;

/// A name in a plugin directory under which a plugin stands, or something that is to become one.
#[derive(Debug)]
pub(super) struct Place {
    picture: Picture,
    /// Since when it looks like that.
    since: Instant,
    pub(super) next: Next,
    /// It may be tried again as soon as other plugins are loaded than now.
    pub(super) waits_for_others: bool,
    /// Where its library may stand, by the manifest with that stamp.
    libraries: Libraries,
    /// The build of it that was put in service last, or was found there.
    pub(super) held: Option<Build>,
    /// The plugin that it is, while another place holds that one.
    pub(super) claims: Option<PluginName>,
    /// The build of it that cannot be loaded.
    pub(super) failed: Option<Failed>,
    /// What was told of it last.
    told: Option<String>,
    back_off: Duration,
    /// Since when there is nothing any more.
    gone: Option<Instant>,
    /// Whether it was there since its directory is the one it is now.
    seen: bool,
}

/// When a place is read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Next {
    /// From then on, once it rests.
    At(Instant),
    /// When it looks different.
    Change,
}

/// Which bytes, under which manifest.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Build {
    pub(super) digest: Digest,
    pub(super) manifest: Manifest,
}

#[derive(Clone, Debug)]
pub(super) struct Failed {
    pub(super) build: Build,
    /// It is out until somebody lets it in again.
    pub(super) quarantined: bool,
}

/// The names that a library may have, read off a manifest when that changes.
#[derive(Debug, Default)]
pub(super) struct Libraries {
    manifest: Option<Stamp>,
    paths: Vec<PathBuf>,
}

impl Place {
    pub(super) fn new(picture: Picture, libraries: Libraries, now: Instant) -> Self {
        Self {
            picture,
            since: now,
            next: Next::At(now),
            waits_for_others: false,
            libraries,
            held: None,
            claims: None,
            failed: None,
            told: None,
            back_off: Duration::ZERO,
            gone: None,
            seen: true,
        }
    }

    /// It is there, and looks like this.
    pub(super) fn is_there(&mut self, picture: Picture, now: Instant) {
        self.seen = true;
        self.gone = None;
        if picture != self.picture {
            self.picture = picture;
            self.since = now;
            self.next = Next::At(now);
            self.back_off = Duration::ZERO;
        }
    }

    /// It is not there.
    pub(super) fn is_gone(&mut self, now: Instant) {
        if self.seen {
            self.gone.get_or_insert(now);
        }
    }

    /// Its directory is another one now, in which it has not been seen. What is not there then was not
    /// removed by anybody.
    pub(super) fn forget_presence(&mut self) {
        self.seen = false;
        self.gone = None;
    }

    /// Nobody can say whether it is there.
    pub(super) fn is_out_of_sight(&mut self) {
        self.gone = None;
    }

    /// Since when it has been gone.
    pub(super) fn gone_since(&self) -> Option<Instant> {
        self.gone
    }

    /// Whether it is to be read now: it looks as it did for `settle`, by our clock and by its own.
    pub(super) fn is_due(&mut self, settle: Duration, now: Instant) -> bool {
        match self.next {
            Next::At(at) if at <= now && self.gone.is_none() && self.seen => {}
            _ => return false,
        }
        let rested = now.saturating_duration_since(self.since);
        let by_our_clock = settle.saturating_sub(rested);
        let by_its_own = self.picture.restless_for(settle, SystemTime::now());
        let left = by_our_clock.max(by_its_own);
        if !left.is_zero() {
            self.next = Next::At(now + left);
        }
        left.is_zero()
    }

    /// Whether it looks as it did when it was seen last.
    pub(super) fn is_unchanged(&mut self, path: &Path, rules: &Rules) -> bool {
        let metadata = fs::symlink_metadata(path);
        let picture = metadata.and_then(|metadata| self.libraries.picture(path, &metadata, rules));
        matches!(picture, Ok(Some(picture)) if picture == self.picture)
    }

    pub(super) fn libraries(&mut self) -> &mut Libraries {
        &mut self.libraries
    }

    /// Nothing is to be done until it changes.
    pub(super) fn rest(&mut self) {
        self.next = Next::Change;
        self.waits_for_others = false;
    }

    /// It is read again after this long, or when it changes.
    pub(super) fn look_again_in(&mut self, after: Duration, now: Instant) {
        self.next = Next::At(now + after);
    }

    /// It changed while it was read.
    pub(super) fn start_over(&mut self, now: Instant) {
        self.since = now;
        self.next = Next::At(now);
    }

    /// This build of it is in service.
    pub(super) fn holds(&mut self, build: Build) {
        self.held = Some(build);
        self.failed = None;
        self.told = None;
        self.rest();
    }

    /// For how much longer a failure may be that of something unfinished.
    pub(super) fn may_be_unfinished_for(&self, settle: Duration, now: Instant) -> Duration {
        let rested = now.saturating_duration_since(self.since);
        settle.saturating_mul(LONGER).saturating_sub(rested)
    }

    /// Waits twice as long as the last time.
    pub(super) fn back_off(&mut self, options: &WatchOptions, now: Instant) {
        const LONGEST: Duration = Duration::from_secs(300);
        let first = options.settle.saturating_mul(LONGER);
        self.back_off = self
            .back_off
            .saturating_mul(2)
            .clamp(first, LONGEST.max(first));
        self.look_again_in(self.back_off, now);
    }

    /// Tells why nothing comes of it, unless that was what was told last. `which` tells apart builds that
    /// fail alike.
    pub(super) fn tell(
        &mut self,
        host: &Inner,
        step: Step,
        subject: Subject,
        error: &Error,
        which: Option<Digest>,
    ) {
        let which = which.map(|digest| digest.to_string()).unwrap_or_default();
        let text = error.in_full();
        let told = format!("{} {text} {which}", error.code());
        if self.told.as_ref() == Some(&told) {
            return;
        }
        self.told = Some(told);
        if let Some(path) = &subject.path {
            tracing::warn!("`{}` is passed over: {text}", path.display());
        }
        host.failed(step, subject, error);
    }

    /// Remembers that this was told by whoever tried it.
    pub(super) fn was_told(&mut self, error: &Error, which: Digest) {
        self.told = Some(format!("{} {} {which}", error.code(), error.in_full()));
    }

    /// What is done with what stands there.
    pub(super) fn step(&self) -> Step {
        match self.held {
            Some(_) => Step::Upgrade,
            None => Step::Load,
        }
    }
}

impl Build {
    pub(super) fn name(&self) -> &PluginName {
        &self.manifest.name
    }
}

impl Libraries {
    /// What a child of a plugin directory looks like; `None` when no plugin is meant to be there.
    pub(super) fn picture(
        &mut self,
        path: &Path,
        metadata: &Metadata,
        rules: &Rules,
    ) -> io::Result<Option<Picture>> {
        if !metadata.is_dir() {
            let is_library = discovery::is_library(path);
            let meant = is_library || !metadata.is_file();
            return Ok(meant.then(|| Picture::File(Stamp::new(metadata))));
        }
        let manifest = match fs::symlink_metadata(path.join(MANIFEST)) {
            Ok(metadata) => Stamp::new(&metadata),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        if self.manifest != Some(manifest) {
            self.manifest = Some(manifest);
            // What is wrong with it is found out when it rests.
            let parsed = discovery::manifest_in(path, rules).ok().flatten();
            let names = parsed.map(|parsed| discovery::file_names(&parsed.manifest));
            let names = names.unwrap_or_default();
            self.paths = names.iter().map(|name| path.join(name)).collect();
        }
        Ok(Some(Picture::Directory {
            itself: Identity::new(metadata),
            manifest,
            libraries: self.paths.iter().map(|path| Stamp::of(path)).collect(),
        }))
    }

    /// The directories that they stand in.
    pub(super) fn directories(&self) -> impl Iterator<Item = &Path> {
        self.paths.iter().filter_map(|path| path.parent())
    }
}
