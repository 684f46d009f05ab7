//! Plugins that are crates, and how this program starts others.

use std::collections::BTreeSet;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cargo_metadata::{CrateType, DependencyKind, Message, Metadata, MetadataCommand, Package};

use plg_packaging::bundle::Target;

use crate::artifact::{Profile, failed, no_artifact, no_tool};
use crate::problem::Problem;
use crate::{freshness, keys};

/// The library of the crate in `directory`, built first when it is missing or older than its sources.
pub(crate) fn fresh(directory: &Path, profile: Profile) -> Result<PathBuf, Problem> {
    let library = locate(directory, profile)?;
    if library.exists() && !freshness::is_stale(&library, directory) {
        return Ok(library);
    }
    build(directory, profile)
}

/// Where cargo puts the library of the crate in `directory` unless it is told to build for another
/// target. Nothing is built.
pub(crate) fn locate(directory: &Path, profile: Profile) -> Result<PathBuf, Problem> {
    let manifest = manifest(directory)?;
    let metadata = metadata(&manifest)?;
    let is_it = |package: &&Package| package.manifest_path.as_std_path() == manifest;
    let Some(package) = metadata.packages.iter().find(is_it) else {
        let detail = format!(
            "`{}` is a workspace, not a plugin's crate",
            manifest.display()
        );
        return Err(no_artifact(detail).help("give the directory of one of its plugins"));
    };
    let is_library =
        |target: &&cargo_metadata::Target| target.crate_types.contains(&CrateType::CDyLib);
    let Some(target) = package.targets.iter().find(is_library) else {
        let detail = format!("crate `{}` has no library of type `cdylib`", package.name);
        return Err(no_artifact(detail));
    };
    let file = format!("lib{}.so", target.name.replace('-', "_"));
    let directory = metadata.target_directory.as_std_path();
    Ok(directory.join(profile.name()).join(file))
}

/// Where the sources of a plugin are.
#[derive(Debug, Default)]
pub(crate) struct Origins {
    /// Its directory, and those of the crates that it depends on by path.
    pub(crate) directories: Vec<PathBuf>,
    /// The manifest of its workspace.
    pub(crate) workspace: Option<PathBuf>,
    /// Where cargo puts what it makes.
    pub(crate) target: Option<PathBuf>,
}

/// Where the sources of the crate in `directory` are, as far as cargo knows without resolving anything:
/// of crates outside its workspace, those that crates inside name.
pub(crate) fn origins(directory: &Path) -> Result<Origins, Problem> {
    let manifest = manifest(directory)?;
    let metadata = metadata(&manifest)?;
    let mut directories = Vec::new();
    let mut seen = BTreeSet::new();
    let mut next = vec![manifest];
    while let Some(manifest) = next.pop() {
        if !seen.insert(manifest.clone()) {
            continue;
        }
        directories.extend(manifest.parent().map(Path::to_owned));
        let is_it = |package: &&Package| package.manifest_path.as_std_path() == manifest;
        let Some(package) = metadata.packages.iter().find(is_it) else {
            continue;
        };
        let dependencies = package.dependencies.iter();
        let built = dependencies.filter(|it| it.kind != DependencyKind::Development);
        let paths = built.filter_map(|it| it.path.as_ref());
        next.extend(paths.map(|path| path.join("Cargo.toml").into_std_path_buf()));
    }
    Ok(Origins {
        directories,
        workspace: Some(metadata.workspace_root.join("Cargo.toml").into()),
        target: Some(metadata.target_directory.into()),
    })
}

fn metadata(manifest: &Path) -> Result<Metadata, Problem> {
    let mut command = MetadataCommand::new();
    command.cargo_path(program()).manifest_path(manifest);
    command.no_deps().exec().map_err(|error| match error {
        cargo_metadata::Error::Io(error) => no_tool(&program(), &error),
        error => {
            let detail = format!("cargo cannot read `{}`", manifest.display());
            Problem::new("build.failed", detail).because(&error)
        }
    })
}

/// Builds the crate in `directory` and returns its library. Cargo shows its progress and what the
/// compiler says on the standard error.
pub(crate) fn build(directory: &Path, profile: Profile) -> Result<PathBuf, Problem> {
    build_with(directory, profile, None)
}

/// As [`build`], for another target than the usual one.
pub(crate) fn build_for(
    directory: &Path,
    profile: Profile,
    target: &Target,
) -> Result<PathBuf, Problem> {
    if !has_target(target)? {
        let detail = format!("the Rust toolchain has no standard library for `{target}`");
        return Err(Problem::new("build.no_target", detail).help(format!(
            "run `rustup target add {target}`, or give a library: `--target {target}=PATH`"
        )));
    }
    build_with(directory, profile, Some(target))
}

/// Whether rustc can compile for `target`: there is a standard library for it.
fn has_target(target: &Target) -> Result<bool, Problem> {
    let program = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let answer = tool(&program)
        .args(["--print", "target-libdir", "--target", target.as_str()])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .output()
        .map_err(|error| no_tool(&program, &error))?;
    // The directory is named also when it is not there.
    let directory = PathBuf::from(String::from_utf8_lossy(&answer.stdout).trim());
    Ok(answer.status.success() && directory.is_dir())
}

fn build_with(
    directory: &Path,
    profile: Profile,
    target: Option<&Target>,
) -> Result<PathBuf, Problem> {
    let manifest = manifest(directory)?;
    let program = program();
    let mut command = tool(&program);
    command
        .args(["build", "--lib", "--message-format=json-render-diagnostics"])
        .arg("--manifest-path")
        .arg(&manifest)
        .stdout(Stdio::piped());
    if profile == Profile::Release {
        command.arg("--release");
    }
    if let Some(target) = target {
        command.args(["--target", target.as_str()]);
    }
    let mut child = command.spawn().map_err(|error| no_tool(&program, &error))?;
    let library = child.stdout.take().and_then(|stdout| {
        let messages = Message::parse_stream(BufReader::new(stdout));
        // To the end, so that cargo does not meet a closed pipe.
        messages
            .filter_map(Result::ok)
            .filter_map(|message| library_in(message, &manifest))
            .last()
    });
    let status = child.wait().map_err(|error| no_tool(&program, &error))?;
    if !status.success() {
        return Err(failed("cargo build --lib", directory, status));
    }
    library.ok_or_else(|| {
        let detail = format!(
            "cargo built no library of type `cdylib` in `{}`",
            directory.display()
        );
        no_artifact(detail)
    })
}

/// The library of the crate with this manifest, if the message tells of it.
fn library_in(message: Message, manifest: &Path) -> Option<PathBuf> {
    let Message::CompilerArtifact(artifact) = message else {
        return None;
    };
    if artifact.manifest_path.as_std_path() != manifest
        || !artifact.target.crate_types.contains(&CrateType::CDyLib)
    {
        return None;
    }
    let mut files = artifact.filenames.into_iter();
    let library = files.find(|file| matches!(file.extension(), Some("so" | "dylib" | "dll")))?;
    Some(library.into_std_path_buf())
}

/// The path as cargo spells it in its answers.
fn manifest(directory: &Path) -> Result<PathBuf, Problem> {
    let path = directory.join("Cargo.toml");
    path.canonicalize()
        .map_err(|source| Problem::from(&plg_host::DiscoverError::Read { path, source }))
}

/// The cargo that runs this program, if one does; else the one of the system.
fn program() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())
}

/// A program whose messages go to the standard error, so that results stay alone on the standard output. It may run
/// what others wrote, which need not know the password of the key that signs the result.
pub(crate) fn tool(program: &str) -> Command {
    let mut command = Command::new(program);
    command
        .env_remove(keys::VARIABLE)
        .stdin(Stdio::null())
        .stdout(Stdio::from(io::stderr()));
    command
}
