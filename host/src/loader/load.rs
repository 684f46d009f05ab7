//! The steps from a candidate to a mapped library, each of which can refuse.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use plg_packaging::manifest::SocketKind;
use plg_packaging::{Digest, Manifest, Parsed};

use super::LoadError;
use super::bundle;
use super::image::{Bytes, Image, Scratch};
use super::library::Library;
use super::preflight::{Facts, Rules, code, preflight};
use super::probe::Prober;
use crate::contracts::{Asked, Settings};
use crate::discovery::Candidate;
use crate::events::Hooks;
use crate::last_words::{Build, Doing, LastWords, Recorded};
use crate::limits::Limits;
use crate::plugin::thread::{HERE, Number};
use crate::plugin::trial::{Bounds, Trial};
use crate::policy::{Placed, Placement};
use crate::quarantine::{self, Cause, Quarantine};
use crate::runner;
use crate::transport::process::dialect::Dialect;
use crate::transport::process::program::Program;
use crate::transport::process::sandbox::{Confinement, Kernel};
use crate::transport::process::{self, Process, Pulse, RunRoot, Spawner};
use crate::transport::{InProcess, Transport};
use plg_plugin_api::process::wire::Pace;

/// What loading needs to know of its host.
pub(crate) struct Loader {
    pub(crate) limits: Arc<Limits>,
    pub(crate) rules: Rules,
    /// Where images go on machines that cannot map files in memory.
    pub(crate) scratch: Option<Arc<Scratch>>,
    pub(crate) prober: Option<Prober>,
    /// Digests of images that crashed, and how.
    pub(crate) quarantine: Quarantine,
    /// Where threads note what they are inside, for whoever comes after a crash.
    pub(crate) words: Option<Arc<LastWords>>,
    /// Where processes are started, and where their sockets are.
    pub(crate) spawner: Arc<Spawner>,
    pub(crate) run: Arc<RunRoot>,
    /// What can hold processes to what they may do.
    pub(crate) kernel: Kernel,
    /// Looks at processes.
    pub(crate) pulse: Arc<Pulse>,
    pub(crate) hooks: Arc<Hooks>,
    /// How eagerly they are waited for.
    pub(crate) pace: Pace,
    /// What the operator says about programs.
    pub(crate) settings: Settings,
    /// The program that serves libraries in processes of their own.
    pub(crate) runner: Option<PathBuf>,
    /// A fault for tests: maps what the preflight refuses.
    pub(crate) unchecked: bool,
}

/// What is known of a library before it is loaded.
#[derive(Default)]
pub(crate) struct Known {
    /// Its bytes, when it was read to find out what it is.
    pub(crate) bytes: Option<Bytes>,
    /// The digest it must have.
    pub(crate) digest: Option<Digest>,
}

/// Code that fits this host. Its `init` has not run.
pub(crate) struct Mapped {
    pub(crate) manifest: Manifest,
    pub(crate) code: Transport,
    pub(crate) recorded: Option<Arc<Recorded>>,
    /// Where it turned out to run.
    pub(crate) placed: Placed,
    /// What it may do wrong before it runs somewhere else.
    pub(crate) conduct: Option<Trial>,
}

/// So many panics so close together take a plugin out of this process.
const PANICS: (usize, Duration) = (5, Duration::from_secs(10));

impl Loader {
    /// Makes the candidate callable, whichever way that is.
    pub(crate) fn open(
        &self,
        candidate: &Candidate,
        known: Known,
        generation: u64,
        placed: Placed,
    ) -> Result<Mapped, LoadError> {
        if let Some((directory, program)) = candidate.program() {
            return self.prepare(candidate, directory, program, known, generation, placed);
        }
        let bytes = self.read(candidate, known)?;
        match placed.placement {
            Placement::InProcess => self.map(candidate, bytes, generation, placed),
            Placement::Isolated | Placement::Sandboxed => {
                self.isolate(candidate, bytes, generation, placed)
            }
        }
    }

    /// Finds and checks the candidate's program. It is started by its `init`.
    fn prepare(
        &self,
        candidate: &Candidate,
        directory: &Path,
        process: &plg_packaging::manifest::Process,
        known: Known,
        generation: u64,
        placed: Placed,
    ) -> Result<Mapped, LoadError> {
        let path = candidate.library.as_path();
        let program = Program::find(directory, process).map_err(|error| LoadError::Start {
            path: path.to_owned(),
            code: error.code(),
            message: error.to_string(),
        })?;
        let bytes = self.read(candidate, known)?;
        let digest = Digest::of(bytes.as_slice());
        if let Some(entry) = self.quarantine.contains(&digest) {
            return Err(LoadError::Quarantined {
                path: path.to_owned(),
                reason: entry.reason,
            });
        }
        let manifest = candidate.manifest.clone();
        let config = self.settings.config(&manifest, path)?;
        let confinement = self.confinement(&placed, Some(directory));
        let asked = Asked {
            manifest: &manifest,
            process,
            program: &program,
            path,
            confinement: &confinement,
            root: &self.run,
            spawner: &self.spawner,
        };
        let dialect = self.settings.dialect(&asked, &config)?;
        let build = process::Build {
            name: manifest.name.clone(),
            version: manifest.version.clone(),
            generation,
            program,
            dialect,
            config,
            file: path.to_owned(),
            bytes: bytes.as_slice().len() as u64,
            digest,
            given: None,
            idle: process.idle_timeout.map(|idle| idle.duration()),
            confinement,
            socket: process.transport.unwrap_or(SocketKind::Unix),
            root: self.run.clone(),
            spawner: self.spawner.clone(),
            pulse: self.pulse.clone(),
            hooks: self.hooks.clone(),
            limits: self.limits.clone(),
            pace: self.pace,
        };
        Ok(Mapped {
            manifest,
            code: Transport::Process(Process::new(build)),
            recorded: None,
            placed,
            conduct: None,
        })
    }

    /// Checks and seals a library, which a child is to map and serve.
    fn isolate(
        &self,
        candidate: &Candidate,
        bytes: Bytes,
        generation: u64,
        placed: Placed,
    ) -> Result<Mapped, LoadError> {
        let path = candidate.library.as_path();
        let rules = Rules {
            isolated: true,
            ..self.rules.clone()
        };
        let facts = preflight(bytes.as_slice(), &rules).into_facts();
        let facts = facts.map_err(|finding| LoadError::Refused {
            path: path.to_owned(),
            finding: Box::new(finding),
        })?;
        let manifest = checked_manifest(candidate, &facts, path)?;
        let image = bytes.seal(self.scratch.as_ref())?;
        // One that a process died of can only harm its own.
        let kept_out = self.kept_out(&image)?;
        if let Some(entry) = kept_out.filter(|entry| entry.cause != Cause::Crashed) {
            return Err(quarantined(path, entry));
        }
        let failed = |source| LoadError::Image {
            path: path.to_owned(),
            source,
        };
        let file = image.reopen().map_err(failed)?;
        let mut confinement = self.confinement(&placed, candidate.directory.as_deref());
        if let Some(scratch) = image.scratch() {
            confinement = confinement.with_own(scratch);
        }
        let (name, version) = (manifest.name.as_str(), manifest.version.to_string());
        let runner = self.runner.as_deref().unwrap_or(Path::new(""));
        let build = process::Build {
            name: manifest.name.clone(),
            version: manifest.version.clone(),
            generation,
            program: Program::runner(runner, runner::arguments(&file, name, &version)),
            dialect: Dialect::Native,
            file: path.to_owned(),
            bytes: image.size(),
            digest: digest(&image)?,
            given: Some(process::Given { image, file }),
            idle: None,
            confinement,
            socket: SocketKind::Unix,
            config: self.settings.config(&manifest, path)?,
            root: self.run.clone(),
            spawner: self.spawner.clone(),
            pulse: self.pulse.clone(),
            hooks: self.hooks.clone(),
            limits: self.limits.clone(),
            pace: self.pace,
        };
        Ok(Mapped {
            manifest,
            code: Transport::Process(Process::new(build)),
            recorded: None,
            placed,
            conduct: None,
        })
    }

    /// What a build is held to whose own files are below `directory`.
    pub(crate) fn confinement(&self, placed: &Placed, directory: Option<&Path>) -> Confinement {
        let confinement = match placed.placement {
            Placement::Sandboxed => {
                Confinement::sandboxed(&placed.grants, &placed.resources, self.kernel)
            }
            Placement::InProcess | Placement::Isolated => Confinement::isolated(&placed.resources),
        };
        match directory {
            Some(directory) => confinement.with_own(directory),
            None => confinement,
        }
    }

    /// Whether what is refused here may run in a process of its own.
    fn may_isolate(&self, placed: &Placed) -> bool {
        placed.fallback && self.runner.is_some()
    }

    /// Checks, seals and maps a library.
    fn map(
        &self,
        candidate: &Candidate,
        bytes: Bytes,
        generation: u64,
        placed: Placed,
    ) -> Result<Mapped, LoadError> {
        let path = candidate.library.as_path();
        let facts = match preflight(bytes.as_slice(), &self.rules).into_facts() {
            Ok(facts) => facts,
            Err(_) if self.unchecked => return self.map_unchecked(candidate, bytes, placed),
            // The only thing that a process of its own makes good.
            Err(finding)
                if finding.code == code::PANIC_ABORT
                    && !placed.insist
                    && self.may_isolate(&placed) =>
            {
                let placed = placed.isolated(format!("{}: {}", finding.code, finding.message));
                return self.isolate(candidate, bytes, generation, placed);
            }
            Err(finding) => {
                return Err(LoadError::Refused {
                    path: path.to_owned(),
                    finding: Box::new(finding),
                });
            }
        };
        let manifest = checked_manifest(candidate, &facts, path)?;
        let image = bytes.seal(self.scratch.as_ref())?;
        if let Some(entry) = self.kept_out(&image)? {
            let crashed = entry.cause == Cause::Crashed;
            if !crashed || placed.insist || !self.may_isolate(&placed) {
                return Err(quarantined(path, entry));
            }
            let image = Bytes::of(&image)?;
            let placed = placed.isolated(entry.reason);
            return self.isolate(candidate, image, generation, placed);
        }
        if let Some(prober) = &self.prober {
            self.probe(prober, &image, &manifest)?;
        }
        let recorded = self.put_on_record(&image, &manifest, generation)?;
        let library = {
            let thread = HERE.with(Number::of);
            let recorded = recorded.as_deref();
            let _inside = recorded.and_then(|recorded| recorded.enter(thread, 0, Doing::Load));
            Library::open(image)?
        };
        if let Some(recorded) = &recorded {
            recorded.set_mapped(library.mapped());
        }
        let unloadable = facts.unloadable();
        #[cfg(feature = "abi_stable")]
        if let Some(difference) = super::layout::difference(&library, &facts) {
            let path = path.to_owned();
            library.abandon();
            return Err(LoadError::Layout { path, difference });
        }
        match with_labels(manifest, &library, path) {
            Ok(manifest) => Ok(Mapped {
                manifest,
                code: Transport::InProcess(InProcess::new(library, unloadable)),
                recorded,
                conduct: self.may_isolate(&placed).then(|| {
                    Trial::new(Bounds {
                        errors: None,
                        panics: Some(PANICS.0),
                        within: Some(PANICS.1),
                        end: None,
                    })
                }),
                placed,
            }),
            Err(error) => {
                library.abandon();
                Err(error)
            }
        }
    }

    fn map_unchecked(
        &self,
        candidate: &Candidate,
        bytes: Bytes,
        placed: Placed,
    ) -> Result<Mapped, LoadError> {
        let library = Library::open(bytes.seal(self.scratch.as_ref())?)?;
        Ok(Mapped {
            manifest: candidate.manifest.clone(),
            code: Transport::InProcess(InProcess::new(library, false)),
            recorded: None,
            placed,
            conduct: None,
        })
    }

    /// Reads the candidate's library, unless it was read before. It must have the digest that is known, if
    /// one is, and that it was installed with.
    pub(crate) fn read(&self, candidate: &Candidate, known: Known) -> Result<Bytes, LoadError> {
        let path = candidate.library.as_path();
        let bytes = match known.bytes {
            Some(bytes) => bytes,
            None => bundle::library(path, &self.limits)?,
        };
        let installed = candidate.installed.as_ref();
        if known.digest.is_none() && installed.is_none() {
            return Ok(bytes);
        }
        let found = Digest::of(bytes.as_slice());
        if let Some(installed) = installed.filter(|installed| installed.library != found) {
            let source = installed.tampered(path, found);
            source.quarantine(&self.quarantine);
            return Err(LoadError::Installed(Box::new(source)));
        }
        if let Some(expected) = known.digest.filter(|expected| *expected != found) {
            let path = path.to_owned();
            return Err(LoadError::Hash {
                path,
                expected,
                found,
            });
        }
        Ok(bytes)
    }

    /// Says what is about to be mapped, in case that ends the process.
    fn put_on_record(
        &self,
        image: &Image,
        manifest: &Manifest,
        generation: u64,
    ) -> Result<Option<Arc<Recorded>>, LoadError> {
        let Some(words) = &self.words else {
            return Ok(None);
        };
        let build = Build {
            name: &manifest.name,
            version: &manifest.version,
            digest: digest(image)?,
            generation,
        };
        Ok(Some(Arc::new(Recorded::new(words, &build))))
    }

    /// Why these bytes are kept out, if they are.
    fn kept_out(&self, image: &Image) -> Result<Option<quarantine::Entry>, LoadError> {
        // Most of the time there is nothing to compare a digest with.
        if self.quarantine.is_empty() {
            return Ok(None);
        }
        Ok(self.quarantine.contains(&digest(image)?))
    }

    fn probe(&self, prober: &Prober, image: &Image, manifest: &Manifest) -> Result<(), LoadError> {
        let outcome = prober.probe(image, self.limits.probe);
        if let Err(LoadError::Probe { ending, .. }) = &outcome {
            let entry = quarantine::Entry {
                plugin: manifest.name.clone(),
                version: manifest.version.clone(),
                reason: format!("its probe {ending}"),
                cause: Cause::Other,
                since: SystemTime::now(),
            };
            self.quarantine.add(digest(image)?, entry);
        }
        outcome
    }
}

/// The manifest that a library embeds, or the little that its note says.
pub(crate) fn manifest_of(bytes: &Bytes) -> Result<Parsed, LoadError> {
    let refused = match manifest_under(bytes, &Rules::default()) {
        Err(error) if error.code() == code::PANIC_ABORT => error,
        outcome => return outcome,
    };
    // It may run in a process of its own. Whether it is to is looked at when it is loaded.
    let rules = Rules {
        isolated: true,
        ..Rules::default()
    };
    manifest_under(bytes, &rules).map_err(|_| refused)
}

/// As [`manifest_of`], for a library that these rules let in.
pub(crate) fn manifest_under(bytes: &Bytes, rules: &Rules) -> Result<Parsed, LoadError> {
    let report = preflight(bytes.as_slice(), rules);
    let facts = report.into_facts().map_err(|finding| LoadError::Refused {
        path: bytes.path().to_owned(),
        finding: Box::new(finding),
    })?;
    embedded(&facts, bytes.path())
}

fn embedded(facts: &Facts, path: &Path) -> Result<Parsed, LoadError> {
    let refused = |source| LoadError::Manifest {
        path: path.to_owned(),
        source,
    };
    let Some(note) = facts.plugin_note() else {
        return Err(LoadError::Descriptor {
            path: path.to_owned(),
            problem: "there is no plugin note".to_owned(),
        });
    };
    if !note.manifest.is_empty() {
        return Manifest::parse(&note.manifest).map_err(refused);
    }
    // A crate's name may have underscores, a plugin's may not. Going through the parser gives the same
    // words for a name or version that will not do.
    let name = note.name.replace('_', "-").to_lowercase();
    let json = serde_json::json!({ "name": name, "version": note.version });
    Manifest::parse(json.to_string().as_bytes()).map_err(refused)
}

/// The candidate's manifest, which must name the plugin that the library is.
fn checked_manifest(
    candidate: &Candidate,
    facts: &Facts,
    path: &Path,
) -> Result<Manifest, LoadError> {
    let embedded = embedded(facts, path)?.manifest;
    let expected = &candidate.manifest;
    let differ = |expected: String, found: String| {
        Err(LoadError::Identity {
            path: path.to_owned(),
            expected,
            found,
        })
    };
    if embedded.name != expected.name {
        return differ(expected.name.to_string(), embedded.name.to_string());
    }
    // A bare file may be another one by now than when it was looked at, and its version was compared
    // with that of the running generation.
    if candidate.directory.is_none() && embedded.version != expected.version {
        let with = |version| format!("{} {version}", expected.name);
        return differ(with(&expected.version), with(&embedded.version));
    }
    Ok(expected.clone())
}

/// Labels may stand in the manifest or in the descriptor; where both list them, they count together.
fn with_labels(
    mut manifest: Manifest,
    library: &Library,
    path: &Path,
) -> Result<Manifest, LoadError> {
    for label in library.labels() {
        let label = plg_packaging::Label::new(label).map_err(|problem| LoadError::Descriptor {
            path: path.to_owned(),
            problem: format!("its label {label:?} is none: {problem}"),
        })?;
        if !manifest.labels.contains(&label) {
            manifest.labels.push(label);
        }
    }
    Ok(manifest)
}

fn quarantined(path: &Path, entry: quarantine::Entry) -> LoadError {
    LoadError::Quarantined {
        path: path.to_owned(),
        reason: entry.reason,
    }
}

fn digest(image: &Image) -> Result<Digest, LoadError> {
    image.digest().map_err(|source| LoadError::Image {
        path: image.origin().to_owned(),
        source,
    })
}
