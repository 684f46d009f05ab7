//! One loaded build of a plugin.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use plg_packaging::{Digest, Manifest};

use super::trial::Trial;
use super::turn::Previous;
use crate::context::frame::Call;
use crate::discovery::Candidate;
use crate::last_words::{Doing, Recorded};
use crate::loader::Mapped;
use crate::plugin::thread::{Here, Number};
use crate::store::Installed;
use crate::transport::{Reason, Transport};

/// One loaded build. Generations of a plugin are numbered from 1 and never reused.
#[derive(Debug)]
pub(crate) struct Generation {
    pub(crate) transport: Transport,
    pub(crate) number: u64,
    pub(crate) manifest: Manifest,
    pub(crate) loaded_at: SystemTime,
    /// The file it was read from.
    pub(crate) origin: PathBuf,
    /// The directory with its `plugin.json`, if it had one.
    pub(crate) directory: Option<PathBuf>,
    /// Keeps its files where they are, if it was installed.
    pub(crate) installed: Option<Arc<Installed>>,
    /// Why it is not in this process, in words, if it is not.
    pub(crate) because: Option<String>,
    /// Whether the host moved it there by itself.
    pub(crate) demoted: AtomicBool,
    /// What it may do wrong before it is taken out of this process.
    pub(crate) conduct: Option<Trial>,
    /// Set while the build before may come back.
    pub(crate) trial: OnceLock<Trial>,
    /// Where threads note that they are inside.
    pub(crate) recorded: Option<Arc<Recorded>>,
    /// How many leases keep it from being retired.
    pub(crate) leases: AtomicUsize,
    /// Goes with the last of it.
    _room: Room,
}

/// The right to have one image mapped, among as many as the host allows.
#[derive(Debug)]
pub(crate) struct Room(Arc<AtomicUsize>);

impl Room {
    /// Takes one of `limit`.
    ///
    /// # Errors
    ///
    /// How many are taken, when that is all.
    pub(crate) fn take(taken: &Arc<AtomicUsize>, limit: usize) -> Result<Self, usize> {
        let one_more = |taken| (taken < limit).then_some(taken + 1);
        taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more)?;
        Ok(Self(taken.clone()))
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Generation {
    pub(crate) fn new(number: u64, candidate: &Candidate, mapped: Mapped, room: Room) -> Self {
        Self {
            transport: mapped.code,
            recorded: mapped.recorded,
            because: Some(mapped.placed.because).filter(|why| !why.is_empty()),
            demoted: AtomicBool::new(false),
            conduct: mapped.conduct,
            number,
            manifest: mapped.manifest,
            loaded_at: SystemTime::now(),
            origin: candidate.library.clone(),
            directory: candidate.directory.clone(),
            installed: candidate.installed.clone(),
            trial: OnceLock::new(),
            leases: AtomicUsize::new(0),
            _room: room,
        }
    }

    /// Ends it for good, or says what is left of it.
    pub(crate) fn retire(
        self,
        here: &Here,
        call: &Call<'_>,
        patience: Duration,
    ) -> Result<(), (Box<Self>, Reason)> {
        let recorded = self.recorded.clone();
        let thread = Number::of(here);
        let _inside = recorded
            .as_ref()
            .and_then(|recorded| recorded.enter(thread, 0, Doing::Stop));
        let Self { transport, .. } = self;
        match transport.retire(here, call, patience) {
            Ok(()) => Ok(()),
            Err((transport, reason)) => {
                let transport = *transport;
                Err((Box::new(Self { transport, ..self }), reason))
            }
        }
    }

    /// What it was loaded from, for loading it again.
    pub(crate) fn candidate(&self) -> Candidate {
        Candidate {
            manifest: self.manifest.clone(),
            library: self.origin.clone(),
            directory: self.directory.clone(),
            warnings: Vec::new(),
            installed: self.installed.clone(),
        }
    }

    /// The SHA-256 of its image, or of the file that is run.
    pub(crate) fn digest(&self) -> Option<Digest> {
        match &self.transport {
            Transport::InProcess(code) => code.image()?.digest().ok(),
            Transport::Process(process) => Some(process.digest()),
            Transport::Builtin(_) => None,
        }
    }

    /// What brings this build back after another replaced it.
    pub(crate) fn previous(&self) -> io::Result<Previous> {
        let (image, digest) = match (self.transport.library(), &self.transport) {
            (Some(image), _) => (image.reopen()?, image.known_digest()),
            // It comes back from its directory, if that still has the same file.
            (None, Transport::Process(process)) => {
                (File::open(&self.origin)?, Some(process.digest()))
            }
            (None, Transport::InProcess(_) | Transport::Builtin(_)) => {
                return Err(io::ErrorKind::NotFound.into());
            }
        };
        Ok(Previous {
            manifest: self.manifest.clone(),
            directory: self.directory.clone(),
            origin: self.origin.clone(),
            image,
            digest,
            installed: self.installed.clone(),
        })
    }

    /// Bytes of that file.
    pub(crate) fn image_bytes(&self) -> Option<u64> {
        match &self.transport {
            Transport::InProcess(code) => Some(code.image()?.size()),
            Transport::Process(process) => Some(process.bytes()),
            Transport::Builtin(_) => None,
        }
    }

    /// What a plugin of the next minor appends, if this one has it.
    #[cfg(feature = "next-minor")]
    pub(crate) fn next(&self) -> Option<u64> {
        match &self.transport {
            Transport::InProcess(code) => code.next(),
            Transport::Process(_) | Transport::Builtin(_) => None,
        }
    }
}
