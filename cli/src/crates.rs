//! Plugins that are crates, and how this program starts others.

use std::collections::BTreeSet;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cargo_metadata::{CrateType, DependencyKind, Message, Metadata, MetadataCommand, Package};

use plg_packaging::bundle::Target;

use crate::artifact::{Profile, failed, no_artifact, no_tool};
use crate::problem::Problem;
use crate::staged::Staged;
use crate::{freshness, keys};

/// What a host loads of the crate in `directory`, built first when it is missing or older than its sources: the
/// library, or a directory with the program.
pub(crate) fn fresh(directory: &Path, profile: Profile) -> Result<PathBuf, Problem> {
    let product = product(directory, profile)?;
    let built = product.file();
    if built.exists() && !freshness::is_stale(&built, directory) {
        return match product {
            Product::Library(library) => Ok(library),
            Product::Program(staged) => staged.describe(directory),
        };
    }
    build(directory, profile)
}

/// Where the library of the crate in `directory` is, or its program, unless cargo is told to build for another
/// target. Nothing is built.
pub(crate) fn locate(directory: &Path, profile: Profile) -> Result<PathBuf, Problem> {
    Ok(product(directory, profile)?.file())
}

/// The directory with the program of the crate in `directory`, if it is one and was built.
pub(crate) fn staged(directory: &Path, profile: Profile) -> Option<PathBuf> {
    match product(directory, profile).ok()? {
        Product::Program(staged) if staged.file().exists() => staged.describe(directory).ok(),
        _ => None,
    }
}

/// Whether the crate in `directory` makes a program and no library.
pub(crate) fn is_program(directory: &Path) -> bool {
    let product = product(directory, Profile::Release);
    product.is_ok_and(|product| matches!(product, Product::Program(_)))
}

/// What comes of a crate.
enum Product {
    Library(PathBuf),
    Program(Staged),
}

impl Product {
    fn file(&self) -> PathBuf {
        match self {
            Self::Library(library) => library.clone(),
            Self::Program(staged) => staged.file(),
        }
    }
}

fn product(directory: &Path, profile: Profile) -> Result<Product, Problem> {
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
    let built = metadata.target_directory.as_std_path();
    let Some(target) = package.targets.iter().find(is_library) else {
        let mut programs = package.targets.iter().filter(|target| target.is_bin());
        let programs = programs.by_ref().map(|target| target.name.as_str());
        if let Some(staged) = Staged::of(directory, programs, built, profile) {
            return Ok(Product::Program(staged));
        }
        let detail = format!("crate `{}` has no library of type `cdylib`", package.name);
        return Err(no_artifact(detail));
    };
    let file = format!("lib{}.so", target.name.replace('-', "_"));
    Ok(Product::Library(built.join(profile.name()).join(file)))
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

/// Builds the crate in `directory` and returns its library, or the directory with its program. Cargo shows its
/// progress and what the compiler says on the standard error.
pub(crate) fn build(directory: &Path, profile: Profile) -> Result<PathBuf, Problem> {
    match product(directory, profile)? {
        Product::Library(_) => build_with(directory, profile, None, &["--lib"], library_in),
        Product::Program(staged) => {
            let program = staged.name();
            let wanted = ["--bin", program];
            let built = build_with(directory, profile, None, &wanted, program_in)?;
            staged.take(&built, directory)
        }
    }
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
    build_with(directory, profile, Some(target), &["--lib"], library_in)
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
    wanted: &[&str],
    found_in: fn(Message, &Path) -> Option<PathBuf>,
) -> Result<PathBuf, Problem> {
    let manifest = manifest(directory)?;
    let program = program();
    let mut command = tool(&program);
    command
        .arg("build")
        .args(wanted)
        .arg("--message-format=json-render-diagnostics")
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
    let built = child.stdout.take().and_then(|stdout| {
        let messages = Message::parse_stream(BufReader::new(stdout));
        // To the end, so that cargo does not meet a closed pipe.
        messages
            .filter_map(Result::ok)
            .filter_map(|message| found_in(message, &manifest))
            .last()
    });
    let status = child.wait().map_err(|error| no_tool(&program, &error))?;
    if !status.success() {
        let what = format!("cargo build {}", wanted.join(" "));
        return Err(failed(&what, directory, status));
    }
    built.ok_or_else(|| {
        let detail = format!(
            "cargo built no library of type `cdylib` and no program in `{}`",
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

/// The program of the crate with this manifest, likewise.
fn program_in(message: Message, manifest: &Path) -> Option<PathBuf> {
    let Message::CompilerArtifact(artifact) = message else {
        return None;
    };
    let is_it = artifact.manifest_path.as_std_path() == manifest && artifact.target.is_bin();
    let program = artifact.executable.filter(|_| is_it)?;
    Some(program.into_std_path_buf())
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
